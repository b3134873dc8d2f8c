//! Colours.

/// Red, green and blue, 0 to 255 each.
pub type Colour = [f64; 3];

/// What a reference is drawn in.
pub const GREY: Colour = [176.0, 180.0, 186.0];
/// What frames a panel in which something could not be drawn.
pub const ALARM: [u8; 3] = [208, 28, 36];

/// `share` of the way from `from` to `to`.
pub fn mix(from: Colour, to: Colour, share: f64) -> Colour {
    std::array::from_fn(|k| from[k] + share * (to[k] - from[k]))
}

/// A colour made darker or lighter.
pub fn scaled(colour: Colour, factor: f64) -> Colour {
    colour.map(|c| c * factor)
}

/// An element's colour, after the convention of Corey, Pauling and Koltun.
pub fn element(atomic_number: u8) -> Colour {
    match atomic_number {
        1 => [236.0, 238.0, 240.0],
        5 => [240.0, 168.0, 150.0],
        6 => [92.0, 98.0, 106.0],
        7 => [46.0, 92.0, 214.0],
        8 => [220.0, 38.0, 32.0],
        9 => [122.0, 206.0, 82.0],
        14 => [218.0, 178.0, 118.0],
        15 => [240.0, 136.0, 30.0],
        16 => [232.0, 198.0, 40.0],
        17 => [46.0, 176.0, 64.0],
        35 => [156.0, 56.0, 40.0],
        53 => [132.0, 44.0, 160.0],
        _ => [196.0, 108.0, 176.0],
    }
}

/// Blue, cyan, green, yellow, red, as `share` goes from 0 to 1.
pub fn rainbow(share: f64) -> Colour {
    const STOPS: [Colour; 6] = [
        [42.0, 72.0, 190.0],
        [30.0, 150.0, 220.0],
        [40.0, 184.0, 130.0],
        [170.0, 204.0, 60.0],
        [248.0, 176.0, 44.0],
        [214.0, 44.0, 38.0],
    ];
    let place = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let below = (place as usize).min(STOPS.len() - 2);
    mix(STOPS[below], STOPS[below + 1], place - below as f64)
}
