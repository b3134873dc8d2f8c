//! A picture of capsules: solids seen along −z, the nearer hiding the farther, lit from the upper left.
//!
//! A capsule, the points within a distance of a segment, is the only solid there is: a ball is one of length 0, a stick
//! is one, a tube is a row of them. A pixel's depth and normal have closed forms, so that solids may cut into each
//! other.

use super::palette::{Colour, mix, scaled};
use crate::geometry::Point;
use crate::geometry::vector::{combine, dot, norm_squared, sub};

/// Width and height of a panel, pixels.
pub const SIDE: usize = 256;
/// Samples along a pixel's side; a pixel is the mean of its samples.
const SAMPLES: usize = 4;
const FINE: usize = SIDE * SAMPLES;
/// The direction to the light, of unit length: left, up, towards the eye.
const LIGHT: Point = [-0.36, 0.48, 0.8];
/// Half way between the light and the eye, of unit length: where a glossy surface shines.
const SHINE: Point = [-0.189_736_659_610_102_76, 0.252_982_212_813_470_4, 0.948_683_298_050_513_8];
const PAPER: Colour = [255.0, 255.0, 255.0];
const INK: Colour = [38.0, 42.0, 50.0];

/// The points within `radius` of the segment from `a` to `b`; Å in the frame of the view, z towards the eye.
#[derive(Clone, Copy, Debug)]
pub struct Capsule {
    /// One end of the segment.
    pub a: Point,
    /// The other.
    pub b: Point,
    /// Its radius.
    pub radius: f64,
    /// Its colour in full light.
    pub colour: Colour,
}

/// What a sample shows.
#[derive(Clone, Copy)]
struct Sample {
    /// Pixels in front of the plane z = 0; −∞: nothing is there.
    depth: f64,
    colour: Colour,
}

/// One panel, `SIDE` × `SIDE` pixels of red, green and blue, row by row from the upper left.
///
/// The capsules are shown as large as fits, but an Å never larger than `largest_scale` pixels. What is far from the eye
/// fades.
pub fn paint(capsules: &[Capsule], largest_scale: f64) -> Vec<u8> {
    let Some(frame) = Frame::around(capsules, largest_scale) else { return vec![255; SIDE * SIDE * 3] };
    let mut samples = vec![Sample { depth: f64::NEG_INFINITY, colour: PAPER }; FINE * FINE];
    for capsule in capsules {
        draw(&mut samples, &frame.place(capsule), &frame);
    }
    let outlined = outlined(&samples, frame.scale);
    averaged(&outlined)
}

/// Where the scene lies on the panel; lengths are in samples.
struct Frame {
    /// Samples per Å.
    scale: f64,
    /// What lies at the panel's centre, Å.
    centre: Point,
    /// The depth of the nearest point, and the distance from there at which colours have faded most.
    nearest: f64,
    range: f64,
}

impl Frame {
    /// `None` if there is nothing to see.
    fn around(capsules: &[Capsule], largest_scale: f64) -> Option<Frame> {
        let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
        for c in capsules {
            for k in 0..3 {
                low[k] = low[k].min(c.a[k].min(c.b[k]) - c.radius);
                high[k] = high[k].max(c.a[k].max(c.b[k]) + c.radius);
            }
        }
        if capsules.is_empty() {
            return None;
        }
        let extent = (high[0] - low[0]).max(high[1] - low[1]);
        let scale = (0.92 * FINE as f64 / extent).min(largest_scale * SAMPLES as f64);
        let centre = combine(0.5, &low, 0.5, &high);
        // What is flat does not fade.
        let range = scale * (high[2] - low[2]).max(0.5 * extent);
        Some(Frame { scale, centre, nearest: 0.5 * scale * (high[2] - low[2]), range })
    }

    /// The capsule in units of samples, y downwards; one too thin to be met by a sample is made thick enough.
    fn place(&self, capsule: &Capsule) -> Capsule {
        let half = FINE as f64 / 2.0;
        let place = |p: &Point| {
            let [x, y, z] = sub(p, &self.centre).map(|c| c * self.scale);
            [half + x, half - y, z]
        };
        let radius = (capsule.radius * self.scale).max(SAMPLES as f64 / 2.0);
        Capsule { a: place(&capsule.a), b: place(&capsule.b), radius, ..*capsule }
    }

    /// How far a depth lies behind the nearest point, 0 to 1.
    fn distance(&self, depth: f64) -> f64 {
        ((self.nearest - depth) / self.range).clamp(0.0, 1.0)
    }
}

/// Lays a capsule, in units of samples, over what is farther away.
fn draw(samples: &mut [Sample], capsule: &Capsule, frame: &Frame) {
    let limits = |k: usize| {
        let (low, high) = (capsule.a[k].min(capsule.b[k]), capsule.a[k].max(capsule.b[k]));
        ((low - capsule.radius).max(0.0) as usize, (high + capsule.radius).clamp(0.0, FINE as f64).ceil() as usize)
    };
    let rows = limits(1);
    for row in rows.0..rows.1 {
        let y = row as f64 + 0.5;
        let (first, last) = columns(capsule, y, limits(0));
        for column in first..last {
            let Some((depth, normal)) = surface(capsule, column as f64 + 0.5, y) else { continue };
            let sample = &mut samples[row * FINE + column];
            if depth > sample.depth {
                *sample = Sample { depth, colour: lit(capsule.colour, &normal, frame.distance(depth)) };
            }
        }
    }
}

/// The columns that a capsule can meet in the row at y: those within its radius of its axis' line.
fn columns(capsule: &Capsule, y: f64, within: (usize, usize)) -> (usize, usize) {
    let [dx, dy, _] = sub(&capsule.b, &capsule.a);
    if dy.abs() < 1e-9 {
        return within;
    }
    let middle = capsule.a[0] + (y - capsule.a[1]) * dx / dy;
    let reach = capsule.radius * (dx * dx + dy * dy).sqrt() / dy.abs();
    let clamped = |x: f64| x.clamp(within.0 as f64, within.1 as f64) as usize;
    (clamped(middle - reach), clamped(middle + reach + 1.0))
}

/// Depth and unit normal (y upwards) where the line of sight through (x, y) enters the capsule.
fn surface(capsule: &Capsule, x: f64, y: f64) -> Option<(f64, Point)> {
    let Capsule { a, b, radius, .. } = *capsule;
    let axis = sub(&b, &a);
    let length = norm_squared(&axis).sqrt();
    let top = if a[2] > b[2] { a } else { b };
    if length < 1e-9 {
        return cap(&top, radius, x, y);
    }
    let u = axis.map(|c| c / length);
    // Of a point (x, y, a_z + h) on the side: h² (1 − u_z²) − 2 h u_z (q·u) + |q|² − (q·u)² = r², q = (x, y) − a.
    let q = [x - a[0], y - a[1], 0.0];
    let along = dot(&q, &u);
    let steepness = 1.0 - u[2] * u[2];
    if steepness < 1e-9 {
        return cap(&top, radius, x, y);
    }
    let root = (u[2] * along).powi(2) - steepness * (norm_squared(&q) - along * along - radius * radius);
    if root < 0.0 {
        return None;
    }
    let h = (u[2] * along + root.sqrt()) / steepness;
    let s = along + u[2] * h;
    if s < 0.0 {
        return cap(&a, radius, x, y);
    }
    if s > length {
        return cap(&b, radius, x, y);
    }
    let normal = combine(1.0 / radius, &[q[0], q[1], h], -s / radius, &u);
    Some((a[2] + h, [normal[0], -normal[1], normal[2]]))
}

/// The same for the ball about `centre`.
fn cap(centre: &Point, radius: f64, x: f64, y: f64) -> Option<(f64, Point)> {
    let (dx, dy) = (x - centre[0], y - centre[1]);
    let rest = radius * radius - dx * dx - dy * dy;
    (rest >= 0.0).then(|| {
        let h = rest.sqrt();
        (centre[2] + h, [dx / radius, -dy / radius, h / radius])
    })
}

/// The colour of a surface with this normal, fading with its distance (0 to 1) from the eye.
fn lit(colour: Colour, normal: &Point, distance: f64) -> Colour {
    let diffuse = dot(normal, &LIGHT).max(0.0);
    let shine = (0..5).fold(dot(normal, &SHINE).max(0.0), |x, _| x * x);
    let surface = mix(scaled(colour, 0.5 + 0.55 * diffuse), PAPER, 0.35 * shine);
    mix(surface, PAPER, 0.45 * distance)
}

/// Colours with a line of ink around everything that stands out from what is behind it.
fn outlined(samples: &[Sample], scale: f64) -> Vec<Colour> {
    let (width, step) = (SAMPLES as isize / 2, 0.35 * scale);
    let depth = |row: isize, column: isize| {
        let inside = |i: isize| (0..FINE as isize).contains(&i);
        if inside(row) && inside(column) {
            samples[row as usize * FINE + column as usize].depth
        } else {
            f64::NEG_INFINITY
        }
    };
    let neighbours = [(0, 1), (1, 0), (0, -1), (-1, 0)];
    (0..FINE * FINE)
        .map(|i| {
            let (row, column) = ((i / FINE) as isize, (i % FINE) as isize);
            let ahead = |&(r, c): &(isize, isize)| depth(row + r * width, column + c * width) - samples[i].depth > step;
            if neighbours.iter().any(ahead) { mix(samples[i].colour, INK, 0.85) } else { samples[i].colour }
        })
        .collect()
}

/// The mean of each pixel's samples.
fn averaged(samples: &[Colour]) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(SIDE * SIDE * 3);
    for row in 0..SIDE {
        for column in 0..SIDE {
            let mut sum = [0.0; 3];
            for fine in 0..SAMPLES * SAMPLES {
                let at = (row * SAMPLES + fine / SAMPLES) * FINE + column * SAMPLES + fine % SAMPLES;
                (0..3).for_each(|k| sum[k] += samples[at][k]);
            }
            pixels.extend(sum.map(|c| (c / (SAMPLES * SAMPLES) as f64).round().clamp(0.0, 255.0) as u8));
        }
    }
    pixels
}
