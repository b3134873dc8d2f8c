//! Secondary structure from Cα positions alone, by the rules of P-SEA.
//!
//! Labesse, Colloc'h, Pothier and Mornon, *P-SEA: a new efficient assignment of secondary structure from Cα trace of
//! proteins*, CABIOS 13 (1997) 291–295. Of each residue i five numbers are looked at: the distances d2, d3, d4 from Cα
//! i−1 to Cα i+1, i+2, i+3, the angle τ of i−1, i, i+1, and the dihedral angle α of i−1, i, i+1, i+2.
//!
//! | | d2, Å | d3, Å | d4, Å | τ | α |
//! |---|---|---|---|---|---|
//! | helix | | 5.3 ± 0.5 | 6.4 ± 0.6 | 89° ± 12° | 50° ± 20° |
//! | strand | 6.7 ± 0.6 | 9.9 ± 0.9 | 12.4 ± 1.1 | 124° ± 14° | −180° to −125°, 145° to 180° |
//!
//! 1. A residue is a candidate when its distances fit, or when its two angles do.
//! 2. At least five candidates in a row are a helix, four a strand; three are one as well when they have at least five
//!    Cα atoms, counted together, at more than 4.2 Å and at most 5.2 Å.
//! 3. Each end gains the next residue when it fits loosely: for a helix by d3 or τ, for a strand by d3.
//! 4. Where both claim a residue it is a strand.
//!
//! The arithmetic is that of the implementation which the field runs, biotite's `annotate_sse` (1.6): positions and
//! what is computed of them in f32, without fused operations and from left to right, limits in f64 but for the two of
//! step 2. So residues on a border fall as they do there, among them one that is planar to the last bit: f32's 180° is
//! larger than f64's, and it is no candidate by its angles. Only arccosine and arctangent are taken in f64 and rounded,
//! since numpy's own differ in the last bit from processor to processor.

use std::fmt;
use std::ops::Range;

use crate::geometry::Point;

/// Chains with fewer residues are coil.
const MIN_RESIDUES: usize = 6;
/// Fewest candidates of a helix, and of a strand.
const HELIX_RUN: usize = 5;
const STRAND_RUN: usize = 4;
/// A strand of this many candidates needs [`CONTACTS`].
const SHORT_STRAND_RUN: usize = 3;
const CONTACTS: usize = 5;
/// A contact is farther away than the first and no farther than the second, in Å.
const CONTACT: (f32, f32) = (4.2, 5.2);

/// What a residue is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Structure {
    /// An α helix.
    Helix,
    /// A β strand.
    Strand,
    /// Neither.
    Coil,
}

impl Structure {
    /// Its letter in P-SEA: a, b or c.
    pub fn letter(self) -> char {
        match self {
            Structure::Helix => 'a',
            Structure::Strand => 'b',
            Structure::Coil => 'c',
        }
    }
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}

/// The share of residues that are `kind`; 0 of none.
pub fn share(structure: &[Structure], kind: Structure) -> f64 {
    let found = structure.iter().filter(|&&s| s == kind).count();
    found as f64 / structure.len().max(1) as f64
}

/// The secondary structure of a chain whose Cα atoms are at `positions` (Å, `N`), for each of its `N` residues.
///
/// Consecutive positions count as neighbours, however far apart; distances across a gap fit nothing. The chain is
/// read from its first residue to its last: what is a helix stays one in a mirror only as far as its distances say so.
pub fn secondary_structure(positions: &[Point]) -> Vec<Structure> {
    let n = positions.len();
    let mut structure = vec![Structure::Coil; n];
    if n < MIN_RESIDUES {
        return structure;
    }
    let trace: Vec<Vector> = positions.iter().map(|position| position.map(|c| c as f32)).collect();
    let local: Vec<Local> = (0..n).map(|i| Local::at(&trace, i)).collect();
    for run in runs(&local, Local::is_helix).filter(|run| run.len() >= HELIX_RUN) {
        structure[extended(run, &local, Local::may_end_helix)].fill(Structure::Helix);
    }
    for run in runs(&local, Local::is_strand).filter(|run| is_strand(run, &trace)) {
        structure[extended(run, &local, Local::may_end_strand)].fill(Structure::Strand);
    }
    structure
}

/// The longest runs of consecutive residues that fulfil a condition, in order.
fn runs<'a>(local: &'a [Local], condition: fn(&Local) -> bool) -> impl Iterator<Item = Range<usize>> + 'a {
    let mut next = 0;
    std::iter::from_fn(move || {
        let start = next + local[next..].iter().position(condition)?;
        let end = local[start..].iter().position(|l| !condition(l)).map_or(local.len(), |len| start + len);
        next = end;
        Some(start..end)
    })
}

/// A run with the residues before and after it that fulfil a looser condition.
fn extended(run: Range<usize>, local: &[Local], condition: fn(&Local) -> bool) -> Range<usize> {
    let before = run.start > 0 && condition(&local[run.start - 1]);
    let after = local.get(run.end).is_some_and(condition);
    run.start - usize::from(before)..run.end + usize::from(after)
}

/// Whether a run of candidates is a strand: long enough, or in contact with other parts of the chain.
fn is_strand(run: &Range<usize>, trace: &[Vector]) -> bool {
    run.len() >= STRAND_RUN
        || run.len() == SHORT_STRAND_RUN
            && trace[run.clone()].iter().map(|residue| contacts(residue, trace)).sum::<usize>() >= CONTACTS
}

/// How many residues are in contact with one.
fn contacts(residue: &Vector, trace: &[Vector]) -> usize {
    let in_contact = |other: &&Vector| {
        let difference = sub(other, residue);
        let squared = dot(&difference, &difference);
        squared <= CONTACT.1 * CONTACT.1 && squared.sqrt() > CONTACT.0
    };
    trace.iter().filter(in_contact).count()
}

/// A position or difference in the arithmetic of the module's head.
type Vector = [f32; 3];

fn sub(a: &Vector, b: &Vector) -> Vector {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn dot(a: &Vector, b: &Vector) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: &Vector, b: &Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// a / |a|; NaN of a vector of no length.
fn unit(a: &Vector) -> Vector {
    let length = dot(a, a).sqrt();
    a.map(|c| c / length)
}

/// The numbers that P-SEA looks at (Å, radians); NaN where the chain has no such residue, and NaN fits nothing.
struct Local {
    d2: f64,
    d3: f64,
    d4: f64,
    tau: f64,
    alpha: f64,
}

impl Local {
    /// Those of residue `i`.
    fn at(trace: &[Vector], i: usize) -> Self {
        let near = |k: usize| (i + k).checked_sub(1).and_then(|j| trace.get(j)).copied().unwrap_or([f32::NAN; 3]);
        let [a, b, c, d, e] = std::array::from_fn(near);
        let distance = |to: &Vector| dot(&sub(to, &a), &sub(to, &a)).sqrt().into();
        let (tau, alpha) = (angle(&a, &b, &c), dihedral(&[a, b, c, d]));
        Local { d2: distance(&c), d3: distance(&d), d4: distance(&e), tau, alpha }
    }

    fn is_helix(&self) -> bool {
        within(self.d3, 5.3, 0.5) && within(self.d4, 6.4, 0.6)
            || within_degrees(self.tau, 89.0, 12.0) && within_degrees(self.alpha, 50.0, 20.0)
    }

    fn may_end_helix(&self) -> bool {
        within(self.d3, 5.3, 0.5) || within_degrees(self.tau, 89.0, 12.0)
    }

    fn is_strand(&self) -> bool {
        let flat = |from: f64, to: f64| self.alpha >= from.to_radians() && self.alpha <= to.to_radians();
        within(self.d2, 6.7, 0.6) && self.may_end_strand() && within(self.d4, 12.4, 1.1)
            || within_degrees(self.tau, 124.0, 14.0) && (flat(-180.0, -125.0) || flat(145.0, 180.0))
    }

    fn may_end_strand(&self) -> bool {
        within(self.d3, 9.9, 0.9)
    }
}

fn within(value: f64, centre: f64, tolerance: f64) -> bool {
    value >= centre - tolerance && value <= centre + tolerance
}

/// Whether an angle in radians is in an interval given in degrees.
fn within_degrees(value: f64, centre: f64, tolerance: f64) -> bool {
    value >= (centre - tolerance).to_radians() && value <= (centre + tolerance).to_radians()
}

/// The angle at `b`, rounded to f32.
fn angle(a: &Vector, b: &Vector, c: &Vector) -> f64 {
    let cosine = dot(&unit(&sub(b, a)), &unit(&sub(b, c)));
    rounded(f64::from(cosine).acos())
}

/// The dihedral angle about the line from the second point to the third, rounded to f32.
fn dihedral(points: &[Vector; 4]) -> f64 {
    let [v1, v2, v3] = std::array::from_fn(|k| unit(&sub(&points[k + 1], &points[k])));
    let (n1, n2) = (cross(&v1, &v2), cross(&v2, &v3));
    rounded(f64::from(dot(&cross(&n1, &n2), &v2)).atan2(dot(&n1, &n2).into()))
}

fn rounded(value: f64) -> f64 {
    (value as f32).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The letters of a chain.
    fn letters(positions: &[Point]) -> String {
        secondary_structure(positions).into_iter().map(Structure::letter).collect()
    }

    /// A helix of 100° and 1.5 Å a residue on a cylinder of 2.3 Å: d3 5.0 Å, d4 6.2 Å, τ 91°, α 50°.
    fn helix(n: usize) -> Vec<Point> {
        let at = |i: usize| (100.0 * i as f64).to_radians().sin_cos();
        (0..n).map(|i| [2.3 * at(i).1, 2.3 * at(i).0, 1.5 * i as f64]).collect()
    }

    /// A strand of −170° and 3.3 Å a residue: τ 123°.
    fn strand(n: usize) -> Vec<Point> {
        let at = |i: usize| (-170.0 * i as f64).to_radians().sin_cos();
        (0..n).map(|i| [0.92 * at(i).1, 0.92 * at(i).0, 3.3 * i as f64]).collect()
    }

    #[test]
    fn ideal_elements() {
        assert_eq!(letters(&helix(12)), "caaaaaaaaaac");
        assert_eq!(letters(&strand(12)), "cbbbbbbbbbcc", "the end has no d3 to gain a residue by");
        assert_eq!(letters(&helix(8)), "caaaaaac", "five candidates and one by its angle");
        assert_eq!(letters(&helix(7)), "ccccccc", "four candidates are no helix");
        assert_eq!(letters(&strand(7)), "cbbbbcc");
        assert_eq!(letters(&strand(6)), "cccccc");
    }

    #[test]
    fn a_mirrored_helix_is_told_by_its_distances() {
        let mirrored = |n| helix(n).iter().map(|p| [-p[0], p[1], p[2]]).collect::<Vec<Point>>();
        assert_eq!(letters(&mirrored(12)), "caaaaaaaaacc");
        assert_eq!(letters(&mirrored(8)), "cccccccc", "α would have given the fifth candidate");
    }

    #[test]
    fn distances_across_a_gap_fit_nothing() {
        let far = strand(12).into_iter().map(|p| [p[0] + 50.0, p[1], p[2]]);
        let chain: Vec<Point> = helix(12).into_iter().chain(far).collect();
        assert_eq!(letters(&chain), "caaaaaaaaaaccbbbbbbbbbcc");
    }

    #[test]
    fn three_candidates_need_contacts() {
        let pair = |apart: f64| {
            let beside = strand(6).into_iter().map(|p| [p[0] + apart, p[1] + 0.3, p[2]]);
            letters(&strand(6).into_iter().chain([[200.0, 0.0, 0.0]]).chain(beside).collect::<Vec<_>>())
        };
        assert_eq!(pair(4.8), "cbbbccccbbbcc");
        assert_eq!(pair(5.4), "ccccccccccccc", "too far");
        assert_eq!(pair(2.2), "ccccccccccccc", "too near");
    }

    #[test]
    fn whatever_the_chain_there_is_a_letter_for_each_residue() {
        for n in 0..9 {
            assert_eq!(letters(&vec![[1.0; 3]; n]), "c".repeat(n), "points that coincide");
            assert_eq!(letters(&(0..n).map(|i| [3.8 * i as f64, 0.0, 0.0]).collect::<Vec<_>>()), "c".repeat(n));
        }
        assert_eq!(letters(&[[1e300; 3]; 9]), "ccccccccc");
        assert_eq!(letters(&[[f64::NAN; 3]; 9]), "ccccccccc");
    }

    #[test]
    fn shares() {
        let structure = [Structure::Helix, Structure::Coil, Structure::Coil, Structure::Strand];
        assert_eq!(share(&structure, Structure::Coil), 0.5);
        assert_eq!(share(&[], Structure::Coil), 0.0);
        assert_eq!(structure.map(|s| s.to_string()).concat(), "accb");
    }
}
