//! Which atom of one graph may be which atom of another, and in which order a search had best decide it.

use crate::chem::{Adjacency, Atom, BondOrder, Molecule, classes};

/// Why graphs of equally many atoms and bonds have no isomorphism.
const UNLIKE: &str = "the two graphs differ in how their atoms are bonded, in bond orders or in charges";

/// Every isomorphism from a probe's graph to a reference's, as a sequence of decisions.
///
/// The rules are those of RDKit's `GetBestRMS`. Atoms agree in element; a charge or unpaired electrons of the probe's atom
/// are required of the reference's, none of the probe's matches any. Bonds agree in order; handedness does not matter. Under the
/// rule for conjugated terminal groups, an oxygen or nitrogen with a single neighbour X that is bonded to X by a single bond
/// while another such atom is bonded to X by a double one, or the other way round (SMARTS
/// `[O,N;D1;$([O,N;D1]-*=[O,N;D1]),$([O,N;D1]=*-[O,N;D1])]`), has no charge, and its bond is single or double alike.
/// Where RDKit would take a probe that is a part of the reference, there is no isomorphism.
#[derive(Debug)]
pub(super) struct Correspondence {
    /// One decision per atom of the probe.
    pub steps: Vec<Step>,
    /// The first steps, which leave no choice.
    pub forced: usize,
    /// The reference's atoms of each class.
    members: Vec<Vec<usize>>,
    /// The class of each of the reference's atoms.
    class: Vec<usize>,
    adjacency: Adjacency,
    reference: Molecule,
}

/// The decision where an atom of the probe goes.
#[derive(Debug)]
pub(super) struct Step {
    /// The atom of the probe.
    pub atom: usize,
    class: usize,
    properties: Atom,
    /// Neighbours decided before, as numbers of their steps, with the bonds to them.
    earlier: Vec<(usize, BondOrder)>,
}

impl Correspondence {
    /// Plans the search, or says why there is no isomorphism.
    pub(super) fn new(probe: &Molecule, reference: &Molecule, terminal_groups: bool) -> Result<Self, String> {
        compare_counts(probe, reference)?;
        let [probe, reference] = [probe, reference].map(|graph| match terminal_groups {
            true => with_equal_terminals(graph),
            false => (graph.clone(), vec![0; graph.atoms.len()]),
        });
        let coloured = colour(&probe, &reference, false).or_else(|| colour(&probe, &reference, true));
        let (class_probe, class_reference) = coloured.ok_or(UNLIKE)?;
        let ((probe, _), (reference, _)) = (probe, reference);
        let mut members = vec![Vec::new(); 2 * probe.atoms.len()];
        class_reference.iter().enumerate().for_each(|(atom, &class)| members[class].push(atom));
        let (steps, forced) = plan(&probe, &class_probe);
        let adjacency = Adjacency::new(&reference);
        let plan = Correspondence { steps, forced, members, class: class_reference, adjacency, reference };
        // The search takes these as they are; colours without charges do not vouch for them.
        match plan.steps[..forced].iter().all(|step| plan.may_be(step, plan.class_of(step)[0])) {
            true => Ok(plan),
            false => Err(UNLIKE.to_owned()),
        }
    }

    /// The reference's atoms that the graphs' colours allow for a step.
    pub(super) fn class_of(&self, step: &Step) -> &[usize] {
        &self.members[step.class]
    }

    /// Puts into `found` the unused atoms of the reference to which step number `depth` can go after the earlier ones went to `images`.
    pub(super) fn candidates(&self, depth: usize, images: &[usize], used: &[bool], found: &mut Vec<usize>) {
        let step = &self.steps[depth];
        found.clear();
        let fits = |&atom: &usize| !used[atom] && self.may_be(step, atom);
        match step.earlier.as_slice() {
            [] => found.extend(self.class_of(step).iter().copied().filter(fits)),
            [(parent, order), others @ ..] => {
                let bonded = |to: usize, order: BondOrder, from: usize| {
                    let neighbours = self.adjacency.of(from).iter();
                    neighbours.into_iter().any(|n| n.atom == to && self.reference.bonds[n.bond].order == order)
                };
                let around = self.adjacency.of(images[*parent]).iter();
                let around = around.filter(|n| self.reference.bonds[n.bond].order == *order).map(|n| n.atom);
                let closes = |&atom: &usize| others.iter().all(|&(other, order)| bonded(images[other], order, atom));
                let of_class = |&atom: &usize| self.class[atom] == step.class;
                found.extend(around.filter(|atom| of_class(atom) && fits(atom) && closes(atom)));
            }
        }
    }

    /// Whether charge and unpaired electrons allow it.
    fn may_be(&self, step: &Step, atom: usize) -> bool {
        let (probe, reference) = (&step.properties, &self.reference.atoms[atom]);
        let charge = probe.formal_charge == 0 || probe.formal_charge == reference.formal_charge;
        charge && (probe.radical_electrons == 0 || probe.radical_electrons == reference.radical_electrons)
    }
}

fn compare_counts(probe: &Molecule, reference: &Molecule) -> Result<(), String> {
    let (probes, references) = (probe.atoms.len(), reference.atoms.len());
    if probes != references {
        return Err(format!(
            "the generated graph has {probes} atoms without implied hydrogens, the reference {references}"
        ));
    }
    let (probes, references) = (probe.bonds.len(), reference.bonds.len());
    if probes != references {
        return Err(format!("the generated graph has {probes} bonds between these atoms, the reference {references}"));
    }
    Ok(())
}

/// The graph with the atoms of conjugated terminal groups neutral and their bonds alike, and a label that tells these
/// atoms from others.
fn with_equal_terminals(graph: &Molecule) -> (Molecule, Vec<usize>) {
    let adjacency = Adjacency::new(graph);
    let order = |bond: usize| graph.bonds[bond].order;
    let terminal = |atom: usize| match adjacency.of(atom) {
        [only] if matches!(graph.atoms[atom].atomic_number, 7 | 8) => Some(*only),
        _ => None,
    };
    let (mut equal, mut label) = (graph.clone(), vec![0; graph.atoms.len()]);
    for atom in 0..graph.atoms.len() {
        let Some(centre) = terminal(atom) else { continue };
        let opposite = match order(centre.bond) {
            BondOrder::Single => BondOrder::Double,
            BondOrder::Double => BondOrder::Single,
            _ => continue,
        };
        let mut others = adjacency.of(centre.atom).iter().filter(|other| other.atom != atom);
        if others.any(|other| order(other.bond) == opposite && terminal(other.atom).is_some()) {
            equal.atoms[atom].formal_charge = 0;
            equal.bonds[centre.bond].order = BondOrder::Other;
            label[atom] = 1;
        }
    }
    (equal, label)
}

/// Classes of the atoms of both graphs such that an isomorphism keeps them; `None` if there can be no isomorphism. Of the
/// same molecule, charges and unpaired electrons are kept as well; of two that differ there, they are left out of the
/// colours, and [`Correspondence::may_be`] decides.
fn colour(
    probe: &(Molecule, Vec<usize>),
    reference: &(Molecule, Vec<usize>),
    uncharged: bool,
) -> Option<(Vec<usize>, Vec<usize>)> {
    let n = probe.0.atoms.len();
    let shifted = |bond: &crate::chem::Bond| crate::chem::Bond {
        begin: bond.begin + n as u32,
        end: bond.end + n as u32,
        order: bond.order,
    };
    let mut both = Molecule {
        atoms: [probe.0.atoms.as_slice(), &reference.0.atoms].concat(),
        bonds: probe.0.bonds.iter().copied().chain(reference.0.bonds.iter().map(shifted)).collect(),
    };
    if uncharged {
        both.atoms.iter_mut().for_each(|atom| (atom.formal_charge, atom.radical_electrons) = (0, 0));
    }
    let mut class = classes(&both, &Adjacency::new(&both), &[probe.1.as_slice(), &reference.1].concat());
    let class_reference = class.split_off(n);
    let sorted = |class: &[usize]| {
        let mut class = class.to_vec();
        class.sort_unstable();
        class
    };
    (sorted(&class) == sorted(&class_reference)).then_some((class, class_reference))
}

/// The order of decisions: atoms alone in their class first, then always the neighbour of a decided atom that has
/// the fewest places to go. Returns also how many steps are of the first kind.
fn plan(probe: &Molecule, class: &[usize]) -> (Vec<Step>, usize) {
    let adjacency = Adjacency::new(probe);
    let n = class.len();
    let mut size = vec![0; 2 * n];
    class.iter().for_each(|&class| size[class] += 1);
    let mut place = vec![None; n];
    let mut steps: Vec<Step> = Vec::with_capacity(n);
    let mut decide = |atom: usize, place: &mut Vec<Option<usize>>| {
        let decided = adjacency.of(atom).iter();
        let earlier = decided.filter_map(|n| Some((place[n.atom]?, probe.bonds[n.bond].order))).collect();
        place[atom] = Some(steps.len());
        steps.push(Step { atom, class: class[atom], properties: probe.atoms[atom], earlier });
    };
    (0..n).filter(|&atom| size[class[atom]] == 1).for_each(|atom| decide(atom, &mut place));
    let forced = place.iter().flatten().count();
    // Undecided atoms beside decided ones, with the number of their places; looked at again when a neighbour is decided.
    let places = |atom: usize, place: &[Option<usize>]| {
        let brothers = |parent: usize| {
            let open = adjacency.of(parent).iter().filter(|n| place[n.atom].is_none());
            open.filter(|n| class[n.atom] == class[atom]).count()
        };
        let parents = adjacency.of(atom).iter().filter(|n| place[n.atom].is_some());
        parents.map(|parent| brothers(parent.atom)).min()
    };
    let mut open: std::collections::BTreeSet<(usize, usize)> = std::collections::BTreeSet::new();
    let mut known = vec![None; n];
    let mut look_again =
        |atom: usize, open: &mut std::collections::BTreeSet<(usize, usize)>, place: &[Option<usize>]| {
            if let Some(old) = known[atom].take() {
                open.remove(&(old, atom));
            }
            if place[atom].is_none() {
                known[atom] = places(atom, place);
                open.extend(known[atom].map(|places| (places, atom)));
            }
        };
    (0..n).for_each(|atom| look_again(atom, &mut open, &place));
    let mut starts: Vec<usize> = (0..n).collect();
    starts.sort_by_key(|&atom| (size[class[atom]], atom));
    let mut starts = starts.into_iter();
    loop {
        let next = match open.first() {
            Some(&(_, atom)) => Some(atom),
            None => starts.find(|&atom| place[atom].is_none()),
        };
        let Some(atom) = next else { break };
        decide(atom, &mut place);
        look_again(atom, &mut open, &place);
        for neighbour in adjacency.of(atom) {
            look_again(neighbour.atom, &mut open, &place);
            for next in adjacency.of(neighbour.atom).iter().filter(|next| place[next.atom].is_none()) {
                look_again(next.atom, &mut open, &place);
            }
        }
    }
    (steps, forced)
}
