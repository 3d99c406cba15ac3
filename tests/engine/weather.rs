//! Loss, reordering and duplication, from a seed.

use crate::streams::exchange;
use crate::world::{Dice, Road, World};

/// A road that loses, doubles and swaps packets, each with the given chance in a thousand.
fn bad_road(seed: u64, lost: u64, doubled: u64, swapped: u64) -> Road {
    let mut dice = Dice::new(seed);
    let mut held = None;
    Box::new(move |packet| {
        let mut out = Vec::new();
        let roll = dice.below(1000);
        if roll < lost {
            return out;
        }
        if roll < lost + swapped && held.is_none() {
            held = Some(packet);
            return out;
        }
        if roll < lost + swapped + doubled {
            out.push(packet.clone());
        }
        out.push(packet);
        out.extend(held.take());
        out
    })
}

#[test]
fn data_arrives_whole_through_loss() {
    for seed in 1..=4 {
        let mut world = World::new();
        let (client, server) = world.connected(80);
        world.roads = [bad_road(seed, 10, 0, 0), bad_road(seed + 100, 10, 0, 0)];
        exchange(&mut world, client, server, 1_000_000);
    }
}

#[test]
fn data_arrives_whole_through_everything() {
    for seed in 1..=4 {
        let mut world = World::new();
        let (client, server) = world.connected(80);
        world.roads = [bad_road(seed, 30, 30, 30), bad_road(seed + 100, 30, 30, 30)];
        exchange(&mut world, client, server, 300_000);
    }
}
