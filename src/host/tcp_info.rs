//! TCP_INFO: what the engine knows of a connection, laid out as Linux's `struct tcp_info` (linux/tcp.h) up to the field
//! `tcpi_total_rto_time` of Linux 6.7; ECN's, which follow in later ones, are not. A program that knows fewer fields
//! takes a shorter piece.
#![forbid(unsafe_code)]

use crate::tcp::Info;

/// Numbers of states (net/tcp_states.h) that no connection has.
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// Of a socket without a connection: tcp_get_info's answer, where it does not depend on what was before.
pub(super) fn unconnected(listening: bool) -> Info {
    let info = Info {
        snd_cwnd: 10,
        reordering: 3,
        pacing_rate: u64::MAX,
        max_pacing_rate: u64::MAX,
        ..Info::default()
    };
    match listening {
        true => Info { state: LISTEN, ..info },
        false => Info {
            state: CLOSE,
            rto: 1_000_000,
            snd_mss: 536,
            snd_ssthresh: 0x7fff_ffff,
            min_rtt: u32::MAX,
            ..info
        },
    }
}

/// The structure. The order is the kernel's; no field needs padding before it.
pub(super) fn bytes(info: &Info) -> Vec<u8> {
    let mut bytes = vec![
        info.state,
        info.ca_state,
        info.retransmits,
        info.probes,
        info.backoff,
        info.options,
        // Bit fields: the first in the lowest bits.
        info.snd_wscale & 15 | info.rcv_wscale << 4,
        u8::from(info.delivery_rate_app_limited),
    ];
    let mut put = Structure(&mut bytes);
    put.ints(&[info.rto, info.ato, info.snd_mss, info.rcv_mss]);
    put.ints(&[info.unacked, info.sacked, info.lost, info.retrans, info.fackets]);
    put.ints(&[info.last_data_sent, info.last_ack_sent, info.last_data_recv, info.last_ack_recv]);
    put.ints(&[info.pmtu, info.rcv_ssthresh, info.rtt, info.rttvar, info.snd_ssthresh, info.snd_cwnd]);
    put.ints(&[info.advmss, info.reordering, info.rcv_rtt, info.rcv_space, info.total_retrans]);
    put.longs(&[info.pacing_rate, info.max_pacing_rate, info.bytes_acked, info.bytes_received]);
    put.ints(&[info.segs_out, info.segs_in, info.notsent_bytes, info.min_rtt]);
    put.ints(&[info.data_segs_in, info.data_segs_out]);
    put.longs(&[info.delivery_rate, info.busy_time, info.rwnd_limited, info.sndbuf_limited]);
    put.ints(&[info.delivered, info.delivered_ce]);
    put.longs(&[info.bytes_sent, info.bytes_retrans]);
    put.ints(&[info.dsack_dups, info.reord_seen, info.rcv_ooopack, info.snd_wnd, info.rcv_wnd, info.rehash]);
    put.shorts(&[info.total_rto, info.total_rto_recoveries]);
    put.ints(&[info.total_rto_time]);
    bytes
}

struct Structure<'a>(&'a mut Vec<u8>);

impl Structure<'_> {
    fn shorts(&mut self, fields: &[u16]) {
        self.0.extend(fields.iter().flat_map(|field| field.to_ne_bytes()));
    }

    fn ints(&mut self, fields: &[u32]) {
        self.0.extend(fields.iter().flat_map(|field| field.to_ne_bytes()));
    }

    fn longs(&mut self, fields: &[u64]) {
        self.0.extend(fields.iter().flat_map(|field| field.to_ne_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets as a C compiler gives them for linux/tcp.h.
    #[test]
    fn fields_lie_where_the_kernel_has_them() {
        let info = Info {
            state: 1,
            snd_wscale: 7,
            rcv_wscale: 10,
            rto: 0x0101_0101,
            total_retrans: 0x0202_0202,
            pacing_rate: 0x0303_0303_0303_0303,
            segs_out: 0x0404_0404,
            delivery_rate: 0x0505_0505_0505_0505,
            bytes_sent: 0x0606_0606_0606_0606,
            snd_wnd: 0x0707_0707,
            total_rto: 0x0808,
            total_rto_time: 0x0909_0909,
            ..Info::default()
        };
        let bytes = bytes(&info);
        let at = |offset: usize, length: usize| &bytes[offset..offset + length];
        assert_eq!((bytes.len(), bytes[0], bytes[6]), (248, 1, 0xa7));
        assert_eq!((at(8, 4), at(100, 4), at(104, 8)), (&[1; 4][..], &[2; 4][..], &[3; 8][..]));
        assert_eq!((at(136, 4), at(160, 8), at(200, 8)), (&[4; 4][..], &[5; 8][..], &[6; 8][..]));
        assert_eq!((at(228, 4), at(240, 2), at(244, 4)), (&[7; 4][..], &[8; 2][..], &[9; 4][..]));
    }
}
