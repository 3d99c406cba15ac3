//! TCP_INFO in the words and the order of `ss -i` (iproute2, tcp_stats_print): what is zero, or at its default, is left out,
//! and so is what our stack does not count.
#![forbid(unsafe_code)]

use std::fmt::Display;
use tubesock::tcp::{Algorithm, Info};

/// Linux's TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK, TCPI_OPT_WSCALE.
const OPTIONS: [(u8, &str); 2] = [(1, "ts"), (2, "sack")];
const OPTION_WINDOW_SCALE: u8 = 4;
/// From here on there is no threshold (ss.c).
const THRESHOLD_MAX: u32 = 0xffff;
/// net.ipv4.tcp_reordering
const REORDERING: u32 = 3;

/// The words behind the tabulator.
pub(crate) fn text(algorithm: Algorithm, info: Option<&Info>, numeric: bool) -> String {
    let mut words = Words { text: String::new(), numeric };
    let nothing = Info::default();
    let info = info.unwrap_or(&nothing);
    for (option, name) in OPTIONS {
        words.say(info.options & option != 0, name);
    }
    words.say(true, algorithm.name());
    if info.options & OPTION_WINDOW_SCALE != 0 {
        words.say(true, format!("wscale:{},{}", info.snd_wscale, info.rcv_wscale));
    }
    times_and_sizes(&mut words, info);
    traffic(&mut words, info);
    rates(&mut words, info);
    losses(&mut words, info);
    receiving(&mut words, info);
    words.text
}

fn times_and_sizes(words: &mut Words, info: &Info) {
    words.milliseconds("rto", info.rto);
    words.count("backoff", info.backoff.into());
    if info.rtt > 0 {
        words.say(true, format!("rtt:{}/{}", milliseconds(info.rtt), milliseconds(info.rttvar)));
    }
    words.milliseconds("ato", info.ato);
    words.count("mss", info.snd_mss.into());
    words.count("pmtu", info.pmtu.into());
    words.count("rcvmss", info.rcv_mss.into());
    words.count("advmss", info.advmss.into());
    words.count("cwnd", info.snd_cwnd.into());
    if info.snd_ssthresh < THRESHOLD_MAX {
        words.count("ssthresh", info.snd_ssthresh.into());
    }
}

fn traffic(words: &mut Words, info: &Info) {
    words.count("bytes_sent", info.bytes_sent);
    words.count("bytes_retrans", info.bytes_retrans);
    words.count("bytes_acked", info.bytes_acked);
    words.count("bytes_received", info.bytes_received);
    words.count("segs_out", info.segs_out.into());
    words.count("segs_in", info.segs_in.into());
    words.count("data_segs_out", info.data_segs_out.into());
    words.count("data_segs_in", info.data_segs_in.into());
}

fn rates(words: &mut Words, info: &Info) {
    if info.rtt > 0 && info.snd_mss > 0 && info.snd_cwnd > 0 {
        let bytes = f64::from(info.snd_cwnd) * f64::from(info.snd_mss);
        words.rate("send", bytes * 1e6 / f64::from(info.rtt));
    }
    words.count("lastsnd", info.last_data_sent.into());
    words.count("lastrcv", info.last_data_recv.into());
    words.count("lastack", info.last_ack_recv.into());
    if info.pacing_rate != u64::MAX {
        words.rate("pacing_rate", info.pacing_rate as f64);
    }
    words.rate("delivery_rate", info.delivery_rate as f64);
    words.count("delivered", info.delivered.into());
    words.say(info.delivery_rate_app_limited, "app_limited");
}

fn losses(words: &mut Words, info: &Info) {
    words.count("unacked", info.unacked.into());
    if info.retrans > 0 || info.total_retrans > 0 {
        words.say(true, format!("retrans:{}/{}", info.retrans, info.total_retrans));
    }
    words.count("lost", info.lost.into());
    words.count("sacked", info.sacked.into());
    words.count("dsack_dups", info.dsack_dups.into());
    if info.reordering != REORDERING {
        words.count("reordering", info.reordering.into());
    }
    words.count("reord_seen", info.reord_seen.into());
}

fn receiving(words: &mut Words, info: &Info) {
    words.milliseconds("rcv_rtt", info.rcv_rtt);
    words.count("rcv_space", info.rcv_space.into());
    words.count("rcv_ssthresh", info.rcv_ssthresh.into());
    words.count("notsent", info.notsent_bytes.into());
    if info.min_rtt != u32::MAX {
        words.milliseconds("minrtt", info.min_rtt);
    }
    words.count("rcv_ooopack", info.rcv_ooopack.into());
    words.count("snd_wnd", info.snd_wnd.into());
    words.count("rcv_wnd", info.rcv_wnd.into());
}

struct Words {
    text: String,
    numeric: bool,
}

impl Words {
    fn say(&mut self, true_of_it: bool, word: impl Display) {
        if true_of_it {
            let space = if self.text.is_empty() { "" } else { " " };
            self.text += &format!("{space}{word}");
        }
    }

    fn count(&mut self, name: &str, count: u64) {
        self.say(count > 0, format_args!("{name}:{count}"));
    }

    fn milliseconds(&mut self, name: &str, micros: u32) {
        self.say(micros > 0, format_args!("{name}:{}", milliseconds(micros)));
    }

    /// Bytes a second, shown as bits.
    fn rate(&mut self, name: &str, bytes: f64) {
        let bits = 8.0 * bytes;
        let shown = if self.numeric { format!("{bits:.0}") } else { with_unit(bits) };
        self.say(bits > 0.0, format_args!("{name} {shown}bps"));
    }
}

fn milliseconds(micros: u32) -> String {
    significant(f64::from(micros) / 1000.0, 6)
}

fn with_unit(mut number: f64) -> String {
    let mut units = ["", "k", "M", "G", "T"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if number < 1000.0 {
            break;
        }
        (number, unit) = (number / 1000.0, larger);
    }
    significant(number, 3) + unit
}

/// As printf's %g, which never has to write an exponent here.
fn significant(number: f64, digits: usize) -> String {
    let whole = if number >= 1.0 { number.log10().floor() as usize + 1 } else { 1 };
    let text = format!("{number:.*}", digits.saturating_sub(whole));
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ss(8) printed of a connection with these figures.
    #[test]
    fn words_of_ss() {
        let info = Info {
            state: 1,
            options: 7,
            snd_wscale: 10,
            rcv_wscale: 7,
            rto: 204_000,
            rtt: 987,
            rttvar: 1_020,
            ato: 56_000,
            snd_mss: 1348,
            pmtu: 1400,
            rcv_mss: 1348,
            advmss: 1348,
            snd_cwnd: 95,
            snd_ssthresh: 146,
            bytes_sent: 9401,
            bytes_acked: 9402,
            segs_out: 352,
            segs_in: 495,
            last_data_sent: 150_376,
            pacing_rate: 42_125_000,
            delivered: 102,
            delivery_rate_app_limited: true,
            total_retrans: 2,
            reordering: 3,
            min_rtt: 64,
            snd_wnd: 89_088,
            ..Info::default()
        };
        let expected = "ts sack cubic wscale:10,7 rto:204 rtt:0.987/1.02 ato:56 mss:1348 pmtu:1400 rcvmss:1348 advmss:1348 \
                        cwnd:95 ssthresh:146 bytes_sent:9401 bytes_acked:9402 segs_out:352 segs_in:495 send 1.04Gbps \
                        lastsnd:150376 pacing_rate 337Mbps delivered:102 app_limited retrans:0/2 minrtt:0.064 \
                        snd_wnd:89088";
        assert_eq!(text(Algorithm::Cubic, Some(&info), false), expected);
        assert!(text(Algorithm::Bbr, Some(&info), true).contains(" bbr "));
        assert!(text(Algorithm::Bbr, Some(&info), true).contains(" pacing_rate 337000000bps "));
        let listens =
            Info { state: 10, snd_cwnd: 10, pacing_rate: u64::MAX, reordering: 3, ..Info::default() };
        assert!(text(Algorithm::Cubic, Some(&listens), false).starts_with("cubic cwnd:10"));
    }

    /// printf's %.3g and %g.
    #[test]
    fn numbers() {
        let table = [
            (0.0, "0bps"),
            (999.0, "999bps"),
            (1000.0, "1kbps"),
            (1.0384e9, "1.04Gbps"),
            (2.41e12, "2.41Tbps"),
        ];
        for (number, shown) in table {
            assert_eq!(with_unit(number) + "bps", shown);
        }
        for (micros, shown) in [(3, "0.003"), (204_000, "204"), (1_020, "1.02"), (120_000_000, "120000")] {
            assert_eq!(milliseconds(micros), shown);
        }
    }
}
