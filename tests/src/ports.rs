//! Ports that no other test uses. Seed lists need ports before anything is bound, so a port is reserved by holding it
//! on another loopback address: two test processes can never hold the same one.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use rand::RngExt as _;

/// Below the range that the kernel hands out for outgoing connections, so that none of those is in the way.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// A port on 127.0.0.1 that is this test's until it is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reservation: TcpListener,
}

impl Port {
    /// Reserves one.
    ///
    /// # Panics
    /// Where none of a thousand is free.
    pub fn reserve() -> Self {
        let mut random = rand::rng();
        for _ in 0..1_000 {
            let number = random.random_range(RANGE);
            let Ok(reservation) = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), number)) else { continue };
            let here = (Ipv4Addr::LOCALHOST, number);
            if TcpListener::bind(here).is_ok() && UdpSocket::bind(here).is_ok() {
                return Self { number, _reservation: reservation };
            }
        }
        panic!("no free port in {RANGE:?}");
    }

    /// Its number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}
