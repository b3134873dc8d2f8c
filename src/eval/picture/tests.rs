//! What pictures show, read back from their pixels.

use super::*;
use crate::chem::{Atom, Chirality};
use crate::geometry::{rotate, rotation_from_quaternion};

/// A picture's pixels.
#[derive(PartialEq)]
struct Image {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Image {
    fn read(png: &[u8]) -> Image {
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        Image { width: info.width as usize, height: info.height as usize, bytes }
    }

    /// Red, green and blue at a column and a row.
    fn at(&self, x: f64, y: f64) -> [i32; 3] {
        let at = (y as usize * self.width + x as usize) * 3;
        [0, 1, 2].map(|k| i32::from(self.bytes[at + k]))
    }

    fn count(&self, what: impl Fn([i32; 3]) -> bool) -> usize {
        self.bytes.chunks_exact(3).filter(|p| what([p[0], p[1], p[2]].map(i32::from))).count()
    }

    /// The mean difference of a channel.
    fn difference(&self, other: &Image) -> f64 {
        assert_eq!((self.width, self.height), (other.width, other.height));
        let sum: f64 = self.bytes.iter().zip(&other.bytes).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        sum / self.bytes.len() as f64
    }
}

fn is_red([r, g, b]: [i32; 3]) -> bool {
    r > g + 60 && r > b + 60
}

fn is_blue([r, g, b]: [i32; 3]) -> bool {
    b > g + 30 && b > r + 60
}

fn is_paper(colour: [i32; 3]) -> bool {
    colour == [255; 3]
}

/// Not white, not dark, without a hue, as the reference is.
fn is_grey([r, g, b]: [i32; 3]) -> bool {
    (130..225).contains(&r) && (r - g).abs() < 12 && (g - b).abs() < 12
}

fn molecule(atomic_numbers: &[u8], bonds: &[(u32, u32)]) -> Molecule {
    let atom =
        |&atomic_number| Atom { atomic_number, formal_charge: 0, radical_electrons: 0, chirality: Chirality::None };
    let bond = |&(begin, end)| Bond { begin, end, order: BondOrder::Single };
    Molecule { atoms: atomic_numbers.iter().map(atom).collect(), bonds: bonds.iter().map(bond).collect() }
}

fn draw(molecule: &Molecule, positions: &[Point]) -> Image {
    Image::read(&conformers(&[Panel { molecule, positions, reference: None }]).unwrap())
}

fn compare(molecule: &Molecule, positions: &[Point], reference: &[Point]) -> Image {
    Image::read(&conformers(&[Panel { molecule, positions, reference: Some(reference) }]).unwrap())
}

/// Carbons around an oxygen in front and a nitrogen behind, which hide each other. The cloud leans to the front, so
/// that a view that looked for a lean along its line of sight would show mirror images alike.
fn sandwich() -> (Molecule, Vec<Point>) {
    let positions =
        vec![[4.0, 0.0, 0.0], [-3.0, 0.3, 0.0], [0.2, 3.0, 0.0], [-0.2, -2.0, 0.0], [0.0, 0.0, 1.4], [0.0, 0.0, -0.9]];
    (molecule(&[6, 6, 6, 6, 8, 7], &[(0, 4), (1, 4), (2, 4), (3, 4), (4, 5)]), positions)
}

fn turned(positions: &[Point]) -> Vec<Point> {
    let rotation = rotation_from_quaternion([0.3, -0.8, 0.4, 0.6]);
    positions.iter().map(|p| add(&rotate(&rotation, p), &[5.0, -60.0, 2.0])).collect()
}

#[test]
fn atoms_have_their_place_and_colour() {
    let molecule = molecule(&[8, 6, 6], &[(0, 1), (1, 2)]);
    let image = draw(&molecule, &[[0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [0.0, 0.0, -1.5]]);
    assert_eq!((image.width, image.height), (256, 256));
    // Along x, the oxygen on the right, 34 pixels an Å; the middle is that of the balls' outer edges.
    let middle = ((3.0 + 0.15 + 0.24 * 0.66) + (-1.5 - 0.15 - 0.24 * 0.76)) / 2.0;
    let column = |x: f64| 128.0 + 34.0 * (x - middle);
    assert!(is_red(image.at(column(3.0), 128.0)));
    assert!(is_red(image.at(column(1.7), 128.0)), "the oxygen's half of the bond");
    let [r, g, b] = image.at(column(0.0), 128.0);
    assert!(r < 150 && (r - g).abs() < 20 && (g - b).abs() < 20, "carbon is dark grey, not {r} {g} {b}");
    assert!(!is_red(image.at(column(1.3), 128.0)), "the carbon's half");
    // Above the stick (radius 0.12 Å, 4 pixels) is paper, above the centre of the ball (0.31 Å) is not.
    assert!(is_paper(image.at(column(1.5), 128.0 - 8.0)) && !is_paper(image.at(column(3.0), 128.0 - 8.0)));
    // Lit from the upper left.
    let sum = |c: [i32; 3]| c.iter().sum::<i32>();
    assert!(sum(image.at(column(3.0) - 4.0, 123.0)) > sum(image.at(column(3.0) + 4.0, 133.0)) + 60);
}

#[test]
fn the_nearer_atom_hides_the_farther_and_a_mirror_image_shows_it() {
    let (molecule, positions) = sandwich();
    let mirrored: Vec<Point> = positions.iter().map(|[x, y, z]| [*x, *y, -z]).collect();
    let (image, mirror) = (draw(&molecule, &positions), draw(&molecule, &mirrored));
    let [red, blue] = [is_red as fn([i32; 3]) -> bool, is_blue].map(|hue| [image.count(hue), mirror.count(hue)]);
    assert!(red[0] > red[1] + 300 && blue[1] > blue[0] + 200, "red {red:?}, blue {blue:?}");
}

#[test]
fn a_turned_molecule_looks_the_same() {
    let (molecule, positions) = sandwich();
    let difference = draw(&molecule, &positions).difference(&draw(&molecule, &turned(&positions)));
    assert!(difference < 0.01, "{difference}");
    let mut bent = positions.clone();
    bent[0][1] += 1.0;
    let difference = draw(&molecule, &positions).difference(&draw(&molecule, &bent));
    assert!(difference > 0.5, "this test must see one atom moved by an Å: {difference}");
}

#[test]
fn a_reference_is_aligned_and_seen_only_where_it_differs() {
    let (molecule, positions) = sandwich();
    let same = compare(&molecule, &turned(&positions), &positions);
    assert!(
        same.difference(&draw(&molecule, &positions)) < 0.01,
        "the reference is within the sticks, and sets the view"
    );
    let mut bent = positions.clone();
    bent[0][2] += 1.5;
    bent[2][0] -= 1.5;
    let other = compare(&molecule, &turned(&bent), &positions);
    let (before, after) = (same.count(is_grey), other.count(is_grey));
    assert!(after > before + 100, "{before} grey pixels, then {after}");
    // Without alignment the sample would lie 60 Å away and everything would be small.
    for image in [same, other] {
        assert!((55_000..63_000).contains(&image.count(is_paper)), "{}", image.count(is_paper));
    }
}

#[test]
fn multiple_bonds_show_their_order() {
    let positions = [[0.0; 3], [4.0, 0.0, 0.0], [8.5, 0.0, 0.0]];
    let strips = |order| {
        let mut molecule = molecule(&[6, 6, 6], &[(0, 1), (1, 2)]);
        molecule.bonds[0].order = order;
        let image = draw(&molecule, &positions);
        // Across the middle of the bond between the two atoms that are nearer each other, on the left.
        let scale = 0.92 * 256.0 / (8.5 + 2.0 * (0.15 + 0.24 * 0.76));
        let x = 128.0 + scale * (2.0 - 4.25);
        let covered: Vec<bool> = (0..256).map(|y| !is_paper(image.at(x, f64::from(y)))).collect();
        let dark: Vec<bool> = (0..256).map(|y| image.at(x, f64::from(y)).iter().sum::<i32>() < 330).collect();
        (covered.iter().filter(|c| **c).count(), dark.windows(2).filter(|w| w[1] && !w[0]).count())
    };
    let [single, double, triple] = [BondOrder::Single, BondOrder::Double, BondOrder::Triple].map(strips);
    assert!(single.0 < double.0 && double.0 < triple.0, "{single:?} {double:?} {triple:?}");
}

#[test]
fn what_cannot_be_drawn_is_left_out_and_framed() {
    let (molecule, positions) = sandwich();
    let alarm =
        |image: &Image| image.at(0.0, 0.0) == ALARM.map(i32::from) && image.at(255.0, 254.0) == ALARM.map(i32::from);
    assert!(!alarm(&draw(&molecule, &positions)));
    for bad in [f64::NAN, f64::INFINITY, 1e300] {
        let mut broken = positions.clone();
        broken[4][1] = bad;
        let image = draw(&molecule, &broken);
        assert!(alarm(&image) && image.count(is_blue) > 50, "the others are drawn");
        assert!(alarm(&compare(&molecule, &broken, &positions)) && alarm(&compare(&molecule, &positions, &broken)));
    }
    let nothing = vec![[f64::NAN; 3]; 6];
    assert!(alarm(&draw(&molecule, &nothing)) && alarm(&compare(&molecule, &nothing, &positions)));
}

#[test]
fn small_and_degenerate_clouds_are_drawn() {
    assert_eq!(draw(&Molecule::default(), &[]).count(is_paper), 256 * 256);
    let water = molecule(&[8], &[]);
    let image = draw(&water, &[[1e5, -3.0, 0.0]]);
    assert!(is_red(image.at(128.0, 128.0)) && image.count(is_paper) > 60_000);
    let pair = molecule(&[8, 8], &[(0, 1)]);
    assert!(draw(&pair, &[[0.0; 3]; 2]).count(is_red) > 100);
    assert!(compare(&pair, &[[0.0; 3]; 2], &[[0.0; 3], [1.2, 0.0, 0.0]]).count(is_red) > 100);
    let far = draw(&pair, &[[0.0; 3], [9e5, 0.0, 0.0]]);
    assert!(far.count(is_paper) < 256 * 256 - 200, "a bond longer than any is still to be seen");
    assert_eq!(
        Image::read(&backbones(&[Trace { positions: &[], reference: None }]).unwrap()).count(is_paper),
        256 * 256
    );
    let single = Image::read(&backbones(&[Trace { positions: &[[0.0; 3]], reference: None }]).unwrap());
    assert!(is_blue(single.at(128.0, 128.0)));
}

#[test]
fn pictures_of_nothing_of_too_much_and_of_misfits_are_refused() {
    let (molecule, positions) = sandwich();
    let panel = Panel { molecule: &molecule, positions: &positions, reference: None };
    let message = |result: Result<Vec<u8>>| result.unwrap_err().to_string();
    assert_eq!(message(conformers(&[])), "a picture has 1 to 16 panels, not 0");
    assert_eq!(message(conformers(&[panel; 17])), "a picture has 1 to 16 panels, not 17");
    let short = Panel { positions: &positions[1..], ..panel };
    assert_eq!(message(conformers(&[panel, short])), "panel 1 of a picture has 5 positions for 6 atoms");
    let other = Panel { reference: Some(&positions[1..]), ..panel };
    assert_eq!(message(conformers(&[other])), "panel 0 of a picture has 5 positions for 6 atoms");
    let trace = Trace { positions: &positions, reference: Some(&positions[2..]) };
    assert_eq!(message(backbones(&[trace])), "trace 0 of a picture has 4 positions for 6 residues");
}

#[test]
fn panels_stand_four_a_row_and_bytes_depend_on_the_input_alone() {
    let (molecule, positions) = sandwich();
    let panel = Panel { molecule: &molecule, positions: &positions, reference: None };
    let bytes = conformers(&[panel; 5]).unwrap();
    let image = Image::read(&bytes);
    assert_eq!((image.width, image.height), (1024, 512));
    let single = draw(&molecule, &positions);
    for (x, y) in [(100.0, 128.0), (128.0, 140.0), (60.0, 128.0)] {
        for (column, row) in [(0.0, 0.0), (3.0, 0.0), (0.0, 1.0)] {
            assert_eq!(image.at(x + 256.0 * column, y + 256.0 * row), single.at(x, y));
        }
        assert!(is_paper(image.at(x + 256.0, y + 256.0)), "there is no sixth panel");
    }
    std::thread::scope(|scope| assert!(scope.spawn(|| conformers(&[panel; 5]).unwrap()).join().unwrap() == bytes));
}

#[test]
fn backbones_run_from_blue_to_red_and_breaks_are_threads() {
    // Straight, with a gap of 12 Å in place of 3.8 near the C-terminus, which the cloud's lean puts on the right.
    let mut positions: Vec<Point> = (0..10).map(|i| [0.0, 3.8 * f64::from(i), 0.0]).collect();
    positions[8..].iter_mut().for_each(|p| p[1] += 8.2);
    let image = Image::read(&backbones(&[Trace { positions: &positions, reference: None }]).unwrap());
    let length = 9.0 * 3.8 + 8.2;
    let scale = 0.92 * 256.0 / (length + 2.0 * TUBE);
    let column = |y: f64| 128.0 + scale * (y - length / 2.0);
    assert!(is_blue(image.at(column(0.5), 128.0)));
    assert!(is_red(image.at(column(length - 0.5), 128.0)));
    let thickness = |y: f64| (0..256).filter(|row| !is_paper(image.at(column(y), f64::from(*row)))).count();
    let (tube, thread) = (thickness(13.0), thickness(7.0 * 3.8 + 6.0));
    assert!((5..12).contains(&tube) && (1..5).contains(&thread), "{tube} {thread}");
    let (mut bent, reference) = (positions.clone(), positions);
    bent[4][0] += 3.0;
    let compared = |positions: &[Point]| {
        let trace = Trace { positions, reference: Some(&reference) };
        Image::read(&backbones(&[trace]).unwrap())
    };
    let same = compared(&turned(&reference)).difference(&image);
    assert!(same < 0.2, "a reference that agrees is hidden, and sets the view: {same}");
    assert!(compared(&bent).count(is_grey) > compared(&reference).count(is_grey) + 20);
}
