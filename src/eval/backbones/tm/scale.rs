//! Lengths in Å that depend on the number of residues only.

/// How near is near: the TM-score of a pair at distance d is `1 / (1 + (d / d0)²)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    /// The number of residues that sums are divided by.
    pub length: f64,
    /// d0, the distance at which a pair counts half.
    pub d0: f64,
    /// Pairs within about this distance (± 1 Å) are superposed anew, again and again.
    pub reach: f64,
}

impl Scale {
    /// The scale of the TM-score (Zhang & Skolnick, Proteins 57, 702, 2004): `d0 = 1.24 ∛(L − 15) − 1.8`, at least
    /// 0.5.
    pub fn of_score(length: usize) -> Self {
        let d0 = if length <= 21 { 0.5 } else { size(length).max(0.5) };
        Scale { length: length as f64, d0, reach: d0.clamp(4.5, 8.0) }
    }

    /// The scale by which TM-align judges alignments on its way: that of the shorter chain, with a d0 that is 0.8 Å
    /// more lenient (0.968 Å for the shortest chains).
    pub fn of_search(length: usize) -> Self {
        let d0 = 0.8 + if length <= 19 { 0.168 } else { size(length) };
        Scale { length: length as f64, d0, reach: d0.clamp(4.5, 8.0) }
    }
}

/// 1.24 ∛(L − 15) − 1.8: the distance of corresponding residues in pairs of unrelated chains of length L.
fn size(length: usize) -> f64 {
    1.24 * (length as f64 - 15.0).cbrt() - 1.8
}

/// d8 = 1.5 L^0.3 + 3.5: pairs farther apart than this are no part of an alignment of chains, the shorter of length
/// L.
pub(super) fn farthest(length: usize) -> f64 {
    1.5 * (length as f64).powf(0.3) + 3.5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_by_hand() {
        let round = |v: f64| (v * 1e4).round() / 1e4;
        assert_eq!((Scale::of_score(21).d0, Scale::of_score(15).d0, Scale::of_score(3).d0), (0.5, 0.5, 0.5));
        assert_eq!((round(Scale::of_score(22).d0), round(Scale::of_score(100).d0)), (0.572, 3.6521));
        assert_eq!((round(Scale::of_search(19).d0), round(Scale::of_search(20).d0)), (0.968, 1.1204));
        assert_eq!((Scale::of_score(100).reach, Scale::of_score(5000).reach), (4.5, 8.0));
        assert_eq!(round(farthest(100)), 9.4716);
    }
}
