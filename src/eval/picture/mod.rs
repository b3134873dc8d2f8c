//! Pictures of samples as PNG: a grid of panels, each with a conformer as balls and sticks or a backbone as a tube.
//!
//! A panel shows its cloud along the shortest principal axis. With a reference the cloud is aligned onto it, the
//! reference is drawn as thin grey sticks, and the view is the reference's: pictures of one molecule taken at several
//! times are seen from the same side. The bytes are a function of the input alone.
//!
//! What is not finite or farther out than 10⁶ Å is left out, and a red frame says so.

mod canvas;
mod palette;
#[cfg(test)]
mod tests;
mod view;

use canvas::{Capsule, SIDE, paint};
use palette::{ALARM, Colour, GREY, element, rainbow};
use view::{Seen, arranged};

use crate::chem::{Bond, BondOrder, Element, Molecule};
use crate::geometry::Point;
use crate::geometry::vector::{add, combine, norm_squared, scale, sub};
use crate::{Error, Result};

/// How many panels a picture holds at most.
pub const MAX_PANELS: usize = 16;
/// Panels side by side.
const COLUMNS: usize = 4;
/// The radius of a stick between two atoms, Å.
const STICK: f64 = 0.12;
/// The radius of a reference's sticks, Å: within the sample's where both agree.
const THIN_STICK: f64 = 0.08;
/// The radius of a backbone's tube and of a reference's, Å.
const TUBE: f64 = 0.62;
const THIN_TUBE: f64 = 0.36;
/// Cα atoms of neighbouring residues are 3.8 Å apart; farther ones (Å) are joined by a thread.
const LONGEST_BOND: f64 = 4.6;
const THREAD: f64 = 0.12;
/// Pieces of a tube between two residues.
const PIECES: usize = 8;
/// The most pixels that an Å takes.
const LARGEST_ATOM_SCALE: f64 = 34.0;
const LARGEST_RESIDUE_SCALE: f64 = 10.0;

/// One conformer to draw.
#[derive(Clone, Copy, Debug)]
pub struct Panel<'a> {
    /// What is bonded to what.
    pub molecule: &'a Molecule,
    /// Its atoms' positions, Å.
    pub positions: &'a [Point],
    /// Positions of the same atoms in the same order to compare with, Å.
    pub reference: Option<&'a [Point]>,
}

/// One backbone to draw, coloured from blue at the N-terminus to red at the C-terminus.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// Its Cα positions along the chain, Å.
    pub positions: &'a [Point],
    /// Positions of the same residues to compare with, Å.
    pub reference: Option<&'a [Point]>,
}

/// The conformers in a grid, four a row, as the bytes of a PNG file.
///
/// # Errors
/// [`Error::Data`] if there are no panels or more than [`MAX_PANELS`], or positions do not fit their molecule.
pub fn conformers(panels: &[Panel<'_>]) -> Result<Vec<u8>> {
    let scenes: Vec<Scene> = panels.iter().enumerate().map(|(i, panel)| panel.scene(i)).collect::<Result<_>>()?;
    grid(&scenes, LARGEST_ATOM_SCALE)
}

/// The backbones in a grid, four a row, as the bytes of a PNG file.
///
/// # Errors
/// [`Error::Data`] if there are no traces or more than [`MAX_PANELS`], or a reference has another length.
pub fn backbones(traces: &[Trace<'_>]) -> Result<Vec<u8>> {
    let scenes: Vec<Scene> = traces.iter().enumerate().map(|(i, trace)| trace.scene(i)).collect::<Result<_>>()?;
    grid(&scenes, LARGEST_RESIDUE_SCALE)
}

/// What a panel shows.
struct Scene {
    capsules: Vec<Capsule>,
    /// Whether that is all there was to show.
    complete: bool,
}

impl Panel<'_> {
    fn scene(&self, index: usize) -> Result<Scene> {
        let atoms = self.molecule.atoms.len();
        check_length("panel", index, "atoms", atoms, self.positions.len())?;
        if let Some(reference) = self.reference {
            check_length("panel", index, "atoms", atoms, reference.len())?;
        }
        let (seen, reference) = arranged(self.positions, self.reference);
        // Beside a reference every bond is one stick, which hides the reference's where both agree.
        let simplified =
            |bond: Bond| if reference.is_some() { Bond { order: BondOrder::Single, ..bond } } else { bond };
        let sticks = self.sticks(&seen).flat_map(|(bond, a, b)| bond_sticks(self.molecule, &simplified(bond), &a, &b));
        let mut capsules: Vec<Capsule> = sticks.collect();
        capsules.extend(seen.iter().zip(&self.molecule.atoms).filter_map(|(place, atom)| {
            let size = Element::new(atom.atomic_number).map_or(1.0, |element| element.covalent_radius);
            place.map(|p| Capsule { a: p, b: p, radius: 0.15 + 0.24 * size, colour: element(atom.atomic_number) })
        }));
        if let Some(reference) = &reference {
            let thin = |(_, a, b)| Capsule { a, b, radius: THIN_STICK, colour: GREY };
            capsules.extend(self.sticks(reference).map(thin));
        }
        Ok(Scene { capsules, complete: is_complete(&seen) && reference.is_none_or(|seen| is_complete(&seen)) })
    }

    /// The bonds between drawable atoms.
    fn sticks(&self, seen: &Seen) -> impl Iterator<Item = (Bond, Point, Point)> {
        let ends = |bond: &Bond| Some(((*seen.get(bond.begin as usize)?)?, (*seen.get(bond.end as usize)?)?));
        self.molecule.bonds.iter().filter_map(move |bond| ends(bond).map(|(a, b)| (*bond, a, b)))
    }
}

/// The sticks of a bond, each half in its atom's colour; those of a multiple bond lie side by side as they are seen.
fn bond_sticks(molecule: &Molecule, bond: &Bond, a: &Point, b: &Point) -> Vec<Capsule> {
    let offsets: &[(f64, f64)] = match bond.order {
        BondOrder::Single | BondOrder::Other => &[(0.0, STICK)],
        BondOrder::Double => &[(-0.13, 0.08), (0.13, 0.08)],
        BondOrder::Aromatic => &[(-0.1, 0.1), (0.16, 0.05)],
        BondOrder::Triple => &[(-0.19, 0.06), (0.0, 0.06), (0.19, 0.06)],
    };
    let [dx, dy, _] = sub(b, a);
    let length = (dx * dx + dy * dy).sqrt();
    let beside = if length > 0.0 { [-dy / length, dx / length, 0.0] } else { [1.0, 0.0, 0.0] };
    let middle = combine(0.5, a, 0.5, b);
    let mut halves = Vec::new();
    for &(offset, radius) in offsets {
        for (end, atom) in [(a, bond.begin), (b, bond.end)] {
            let colour = element(molecule.atoms[atom as usize].atomic_number);
            let [a, b] = [end, &middle].map(|p| combine(1.0, p, offset, &beside));
            halves.push(Capsule { a, b, radius, colour });
        }
    }
    halves
}

impl Trace<'_> {
    fn scene(&self, index: usize) -> Result<Scene> {
        if let Some(reference) = self.reference {
            check_length("trace", index, "residues", self.positions.len(), reference.len())?;
        }
        let (seen, reference) = arranged(self.positions, self.reference);
        let mut capsules = tube(&seen, TUBE, rainbow);
        if let Some(reference) = &reference {
            capsules.extend(tube(reference, THIN_TUBE, |_| GREY));
        }
        Ok(Scene { capsules, complete: is_complete(&seen) && reference.is_none_or(|seen| is_complete(&seen)) })
    }
}

fn check_length(what: &str, index: usize, of: &str, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Data(format!("{what} {index} of a picture has {found} positions for {expected} {of}")))
}

fn is_complete(seen: &Seen) -> bool {
    seen.iter().all(Option::is_some)
}

/// A smooth curve (Catmull and Rom's) through the residues, coloured by the share of the chain behind.
fn tube(seen: &Seen, radius: f64, colour: impl Fn(f64) -> Colour) -> Vec<Capsule> {
    let share = |place: f64| place / (seen.len().max(2) - 1) as f64;
    let bonded = |i: usize| -> Option<(Point, Point)> {
        let (a, b) = ((*seen.get(i)?)?, (*seen.get(i + 1)?)?);
        (norm_squared(&sub(&a, &b)) <= LONGEST_BOND * LONGEST_BOND).then_some((a, b))
    };
    // The curve's direction at residue i: from the one before to the one after, as far as they are bonded.
    let direction = |i: usize| match (i.checked_sub(1).and_then(bonded), bonded(i)) {
        (Some((before, _)), Some((_, after))) => scale(0.5, &sub(&after, &before)),
        (Some((a, b)), None) | (None, Some((a, b))) => sub(&b, &a),
        (None, None) => [0.0; 3],
    };
    let mut capsules = Vec::new();
    for (i, place) in seen.iter().enumerate() {
        let Some(a) = *place else { continue };
        if let Some((_, b)) = bonded(i) {
            let curve = |s: f64| hermite(&a, &direction(i), &b, &direction(i + 1), s);
            for piece in 0..PIECES {
                let [from, to] = [piece, piece + 1].map(|k| k as f64 / PIECES as f64);
                let colour = colour(share(i as f64 + from));
                capsules.push(Capsule { a: curve(from), b: curve(to), radius, colour });
            }
            continue;
        }
        // The end of a stretch, or a residue by itself.
        let colour = colour(share(i as f64));
        capsules.push(Capsule { a, b: a, radius, colour });
        if let Some(Some(b)) = seen.get(i + 1) {
            capsules.push(Capsule { a, b: *b, radius: THREAD, colour });
        }
    }
    capsules
}

/// The cubic from `a` with slope `u` (s = 0) to `b` with slope `v` (s = 1).
fn hermite(a: &Point, u: &Point, b: &Point, v: &Point, s: f64) -> Point {
    let r = 1.0 - s;
    let ends = combine(r * r * (1.0 + 2.0 * s), a, s * s * (1.0 + 2.0 * r), b);
    add(&ends, &combine(s * r * r, u, -s * s * r, v))
}

/// The scenes side by side as a PNG file.
fn grid(scenes: &[Scene], largest_scale: f64) -> Result<Vec<u8>> {
    if scenes.is_empty() || scenes.len() > MAX_PANELS {
        return Err(Error::Data(format!("a picture has 1 to {MAX_PANELS} panels, not {}", scenes.len())));
    }
    let columns = scenes.len().min(COLUMNS);
    let (width, height) = (columns * SIDE, scenes.len().div_ceil(columns) * SIDE);
    let mut pixels = vec![255; width * height * 3];
    for (i, scene) in scenes.iter().enumerate() {
        let mut panel = paint(&scene.capsules, largest_scale);
        if !scene.complete {
            frame(&mut panel);
        }
        let corner = (i / columns * SIDE * width + i % columns * SIDE) * 3;
        for (row, line) in panel.chunks_exact(SIDE * 3).enumerate() {
            let at = corner + row * width * 3;
            pixels[at..at + SIDE * 3].copy_from_slice(line);
        }
    }
    encode(&pixels, width, height)
}

/// A frame of two pixels that says that something could not be drawn.
fn frame(panel: &mut [u8]) {
    let inside = |i: usize| (2..SIDE - 2).contains(&i);
    for (i, pixel) in panel.chunks_exact_mut(3).enumerate() {
        if !(inside(i / SIDE) && inside(i % SIDE)) {
            pixel.copy_from_slice(&ALARM);
        }
    }
}

fn encode(pixels: &[u8], width: usize, height: usize) -> Result<Vec<u8>> {
    let failed = |error: png::EncodingError| Error::Data(format!("a picture could not be encoded: {error}"));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}
