//! Ragged batches of point clouds.

use std::ops::Range;

use super::vector::centre;

/// A point or tangent vector in `D` dimensions; lengths are in Å, computed in f64 whatever a network uses.
pub type Point<const D: usize = 3> = [f64; D];

/// `B` clouds of different sizes, their points one after another: cloud `b` holds the points
/// `offsets[b]..offsets[b + 1]`. Also serves for tangent vectors at such clouds.
#[derive(Clone, Debug, PartialEq)]
pub struct Clouds<const D: usize = 3> {
    points: Vec<Point<D>>,
    offsets: Vec<usize>,
}

impl<const D: usize> Clouds<D> {
    /// Joins clouds in the order given.
    pub fn from_clouds<'a>(clouds: impl IntoIterator<Item = &'a [Point<D>]>) -> Self {
        let mut points = Vec::new();
        let mut offsets = vec![0];
        for cloud in clouds {
            points.extend_from_slice(cloud);
            offsets.push(points.len());
        }
        Clouds { points, offsets }
    }

    /// The same partition into clouds with other points, one per point of `self`.
    ///
    /// # Panics
    /// If the number of points differs.
    pub fn with_points(&self, points: Vec<Point<D>>) -> Self {
        assert_eq!(points.len(), self.points.len(), "one point per point");
        Clouds { points, offsets: self.offsets.clone() }
    }

    /// The same partition, all points at the origin.
    pub fn zeros_like(&self) -> Self {
        self.with_points(vec![[0.0; D]; self.points.len()])
    }

    /// Number of clouds, `B`.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no cloud at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The boundaries: `B + 1` ascending point indices, the first 0.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The point indices of cloud `b`.
    pub fn range(&self, b: usize) -> Range<usize> {
        self.offsets[b]..self.offsets[b + 1]
    }

    /// The points of cloud `b`.
    pub fn cloud(&self, b: usize) -> &[Point<D>] {
        &self.points[self.range(b)]
    }

    /// The points of cloud `b`, to change.
    pub fn cloud_mut(&mut self, b: usize) -> &mut [Point<D>] {
        let range = self.range(b);
        &mut self.points[range]
    }

    /// The clouds in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[Point<D>]> {
        self.offsets.windows(2).map(|w| &self.points[w[0]..w[1]])
    }

    /// All points, cloud after cloud.
    pub fn points(&self) -> &[Point<D>] {
        &self.points
    }

    /// All points, to change.
    pub fn points_mut(&mut self) -> &mut [Point<D>] {
        &mut self.points
    }

    /// The clouds, each moved so that its mean is the origin.
    pub fn centred(mut self) -> Self {
        (0..self.len()).for_each(|b| centre(self.cloud_mut(b)));
        self
    }

    /// Applies `f` to each pair of corresponding points.
    ///
    /// # Panics
    /// If the partitions differ.
    pub fn zip_map(&self, other: &Self, f: impl Fn(&Point<D>, &Point<D>) -> Point<D>) -> Self {
        assert_eq!(self.offsets, other.offsets, "the same partition into clouds");
        self.with_points(self.points.iter().zip(&other.points).map(|(a, b)| f(a, b)).collect())
    }
}

impl<const D: usize> Default for Clouds<D> {
    fn default() -> Self {
        Clouds { points: Vec::new(), offsets: vec![0] }
    }
}
