//! What admission promises, over an hour of traffic.

mod simulation;

use simulation::{Hour, Mode, play, table};

fn all_settled(hour: &Hour) {
    assert_eq!(hour.answered + hour.refused, hour.requests);
    assert_eq!(hour.in_flight, 0);
}

#[test]
fn t() {
    let hours: Vec<_> = Mode::ALL.into_iter().map(|mode| play(mode, 1)).collect();
    hours.iter().for_each(all_settled);
    println!("{}", table(&hours));
}
