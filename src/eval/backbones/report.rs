//! What came out: a row for each chain, a table for all, files for both.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use serde::Serialize;

use super::Options;
use super::chains::{Backbone, Set, Unreadable};
use super::scores::DESIGNABLE;
use super::structure::{Structure, share};
use super::summary::Summary;
use super::variety::{Diversity, Known, Pairs};
use crate::eval::table::{Table, csv, number, percent, spread};
use crate::files::{refuse_existing, write_whole};
use crate::{Error, Result};

/// Up to so many different lengths are shown one by one, more of them in ranges.
const MAX_LENGTHS: usize = 12;
/// Residues of a range of lengths.
const RANGE: usize = 50;
/// A length is compared with reference chains that are at most this share longer or shorter.
const TOLERANCE: f64 = 0.1;
/// So many files that could not be read are named on the terminal.
const NAMED: usize = 20;

/// Chains of whatever length.
const ANY: RangeInclusive<usize> = 0..=usize::MAX;

const BACKBONES: &str = "backbones.csv";
const REFERENCE: &str = "reference.csv";
const SUMMARY: &str = "summary.json";
const REPORT: &str = "report.md";

/// The results.
#[derive(Clone, Debug)]
pub struct Report {
    /// The samples.
    pub samples: Set,
    /// What they are compared with.
    pub reference: Option<Set>,
    /// What novelty was measured against.
    pub known: Option<Known>,
    /// All samples first, then those that are designable, then by length.
    pub groups: Vec<Group>,
}

/// Samples, beside reference chains of about the same lengths.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// `all`, `designable`, a length, or a range of lengths.
    pub name: String,
    /// What the samples say together.
    pub samples: Summary,
    /// How alike they are.
    pub diversity: Option<Diversity>,
    /// Mean over the samples of the TM-score with the known chain that each is most like.
    pub novelty: Option<f64>,
    /// Share of the samples with an scRMSD below 2 Å, of those that have one.
    pub designable: Option<f64>,
    /// The reference chains.
    pub reference: Option<Compared>,
}

/// What samples are compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// `all`, or the range of the chains' lengths.
    pub lengths: String,
    /// What the chains say together.
    #[serde(flatten)]
    pub summary: Summary,
}

impl Report {
    /// Compares samples with a reference; `pairs` are the TM-scores among the samples.
    pub(super) fn new(samples: Set, reference: Option<Set>, pairs: Option<&Pairs>, known: Option<Known>) -> Self {
        let lengths: BTreeSet<usize> = samples.chains.iter().map(|chain| chain.shape.length).collect();
        let all = Selection { name: "all".into(), designable: false, own: ANY, other: ANY };
        let mut selections = vec![all.clone()];
        if samples.chains.iter().any(|chain| chain.sc_rmsd.is_some()) {
            selections.push(Selection { name: "designable".into(), designable: true, ..all });
        }
        if lengths.len() > 1 || reference.is_some() {
            selections.extend(by_length(&lengths));
        }
        let groups = selections.iter().map(|selection| selection.group(&samples, reference.as_ref(), pairs)).collect();
        Report { samples, reference, known, groups }
    }

    /// What a user has to know when samples could not be read.
    pub fn complaint(&self) -> Option<Error> {
        let unreadable = &self.samples.unreadable;
        let first = unreadable.first()?;
        let (n, file, reason) = (unreadable.len(), &first.file, &first.reason);
        Some(Error::Data(format!("{n} of the samples' files could not be read; the first is {file}: {reason}")))
    }

    /// Writes the files into a folder, making it if need be.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system refuses.
    pub fn save(&self, out: &Path) -> Result<()> {
        std::fs::create_dir_all(out).map_err(Error::io(out))?;
        write_csv(&out.join(BACKBONES), &self.samples)?;
        let reference = out.join(REFERENCE);
        match &self.reference {
            Some(set) => write_csv(&reference, set)?,
            // What an earlier report was compared with is no part of this one.
            None if reference.exists() => std::fs::remove_file(&reference).map_err(Error::io(&reference))?,
            None => {}
        }
        let document = Document::of(self);
        let summary = serde_json::to_string_pretty(&document).map_err(|error| Error::io(out)(error.into()))?;
        write_whole(&out.join(SUMMARY), (summary + "\n").as_bytes())?;
        write_whole(&out.join(REPORT), self.markdown().as_bytes())
    }

    /// What `report.md` holds.
    fn markdown(&self) -> String {
        format!("# Backbones\n\n{self}\n{LEGEND}")
    }

    /// What could not be judged or compared; all of it is in `summary.json`.
    fn lists(&self) -> impl Iterator<Item = (String, &[Unreadable])> {
        let unreadable =
            self.sets().map(|set| (format!("{}: files that could not be read", set.name), &set.unreadable[..]));
        let incomparable = ("samples without a TM-score".to_string(), &self.samples.incomparable[..]);
        let unknown = self.known.as_ref().map_or(&[][..], |known| &known.left_out);
        unreadable.chain([incomparable, ("known chains left out of the novelty".to_string(), unknown)])
    }

    fn sets(&self) -> impl Iterator<Item = &Set> {
        std::iter::once(&self.samples).chain(&self.reference)
    }

    fn table(&self) -> Table {
        let asked = |has: fn(&Group) -> bool| self.groups.iter().any(has);
        let extra = [
            ("pair TM", asked(|group| group.diversity.is_some())),
            ("clusters", asked(|group| group.diversity.is_some())),
            ("nearest TM", asked(|group| group.novelty.is_some())),
            ("designable", asked(|group| group.designable.is_some())),
        ];
        let shown = |cells: [String; 4]| -> Vec<String> {
            cells.into_iter().zip(extra).filter_map(|(cell, (_, asked))| asked.then_some(cell)).collect()
        };
        let heads =
            [vec![String::new()], COLUMNS.map(String::from).to_vec(), shown(extra.map(|(head, _)| head.into()))];
        let mut table = Table::new(heads.concat());
        for group in &self.groups {
            let row =
                |name: String, summary: &Summary, more: [String; 4]| [vec![name], cells(summary), shown(more)].concat();
            table.push(row(format!("{}, {}", self.samples.name, group.name), &group.samples, group.relations()));
            if let (Some(set), Some(compared)) = (&self.reference, &group.reference) {
                let name = format!("{}, {}", set.name, compared.lengths);
                table.push(row(name, &compared.summary, Default::default()));
            }
        }
        table
    }
}

impl Group {
    /// The cells of what samples are to each other and to others.
    fn relations(&self) -> [String; 4] {
        let diversity = self.diversity.as_ref();
        [
            number(diversity.map_or(f64::NAN, |found| found.mean_tm)),
            diversity.map_or(String::new(), |found| format!("{} of {}", found.clusters, found.chains)),
            number(self.novelty.unwrap_or(f64::NAN)),
            percent(self.designable.unwrap_or(f64::NAN)),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.table())?;
        for set in self.sets() {
            if set.twins > 0 {
                writeln!(out, "\n{}: {} files left out, the same names with other endings", set.name, set.twins)?;
            }
        }
        for (what, list) in self.lists().filter(|(_, list)| !list.is_empty()) {
            writeln!(out, "\n{what}: {}", list.len())?;
            list.iter().take(NAMED).try_for_each(|item| writeln!(out, "- {}: {}", item.file, item.reason))?;
            if list.len() > NAMED {
                writeln!(out, "- … and {} more", list.len() - NAMED)?;
            }
        }
        Ok(())
    }
}

/// What `summary.json` holds.
#[derive(Serialize)]
struct Document<'a> {
    /// Version of qsd.
    qsd: &'static str,
    samples: SetDocument<'a>,
    reference: Option<SetDocument<'a>>,
    /// Samples without a TM-score.
    incomparable: &'a [Unreadable],
    /// What novelty was measured against.
    known: Option<&'a Known>,
    groups: &'a [Group],
}

#[derive(Serialize)]
struct SetDocument<'a> {
    name: &'a str,
    chains: usize,
    unreadable: &'a [Unreadable],
    /// Files left out for having another's name.
    twins: usize,
}

impl<'a> Document<'a> {
    fn of(report: &'a Report) -> Self {
        Document {
            qsd: env!("CARGO_PKG_VERSION"),
            samples: SetDocument::of(&report.samples),
            reference: report.reference.as_ref().map(SetDocument::of),
            incomparable: &report.samples.incomparable,
            known: report.known.as_ref(),
            groups: &report.groups,
        }
    }
}

impl<'a> SetDocument<'a> {
    fn of(set: &'a Set) -> Self {
        SetDocument { name: &set.name, chains: set.chains.len(), unreadable: &set.unreadable, twins: set.twins }
    }
}

/// The heads of [`cells`].
const COLUMNS: [&str; 11] =
    ["chains", "Cα–Cα, Å", "good", "breaks", "< 2 Å", "clashes", "radius", "helix", "strand", "coil", "right-handed"];

const LEGEND: &str = "\
Cα–Cα: distance of neighbours, mean ± standard deviation; good: within 0.1 Å of 3.8 Å. Breaks: neighbours farther than 4.5 Å
apart, which do not count as distances. < 2 Å: pairs of residues nearer than that, per chain. Clashes: residues nearer than
3.4 Å to one more than two places away. Radius: of gyration, over 2.2 N^0.38 Å, that of folded chains. Helix, strand, coil:
P-SEA, means over chains. Right-handed: share of helical turns; of a protein nearly all, of its mirror image nearly none.
Pair TM: mean TM-score of samples of equal length, averaged over lengths; clusters: of samples, at a TM-score of 0.5; nearest
TM: mean TM-score, by the sample's length, with the nearest known chain; designable: scRMSD below 2 Å.
";

fn cells(summary: &Summary) -> Vec<String> {
    vec![
        summary.chains.to_string(),
        spread(summary.ca_ca_mean, summary.ca_ca_std),
        percent(summary.ca_ca_good),
        percent(summary.breaks),
        number(summary.close_pairs),
        percent(summary.clashes),
        spread(summary.radius_ratio_mean, summary.radius_ratio_std),
        percent(summary.helix),
        percent(summary.strand),
        percent(summary.coil),
        percent(summary.right_handed),
    ]
}

/// Which chains belong to a group.
#[derive(Clone, Debug, PartialEq)]
struct Selection {
    name: String,
    /// Whether samples have to be designable.
    designable: bool,
    /// The lengths of the samples.
    own: RangeInclusive<usize>,
    /// The lengths of the reference chains.
    other: RangeInclusive<usize>,
}

impl Selection {
    fn takes(&self, chain: &Backbone) -> bool {
        let designable = chain.sc_rmsd.is_some_and(|sc_rmsd| sc_rmsd < DESIGNABLE);
        self.own.contains(&chain.shape.length) && (designable || !self.designable)
    }

    fn group(&self, samples: &Set, reference: Option<&Set>, pairs: Option<&Pairs>) -> Group {
        let taken = || samples.chains.iter().filter(|chain| self.takes(chain));
        let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        let is_designable = |sc_rmsd: f64| f64::from(u8::from(sc_rmsd < DESIGNABLE));
        let other = |chain: &Backbone| self.other.contains(&chain.shape.length);
        Group {
            name: self.name.clone(),
            samples: samples.summary(|chain| self.takes(chain)),
            diversity: pairs.map(|pairs| pairs.diversity(|place| self.takes(&samples.chains[place]))),
            novelty: mean(taken().filter_map(|chain| Some(chain.nearest.as_ref()?.tm)).collect()),
            designable: mean(taken().filter_map(|chain| chain.sc_rmsd.map(is_designable)).collect()),
            reference: reference.map(|set| Compared { lengths: range_name(&self.other), summary: set.summary(other) }),
        }
    }
}

/// The groups of lengths: of the samples, and of the reference chains they are compared with.
fn by_length(lengths: &BTreeSet<usize>) -> Vec<Selection> {
    let selection =
        |own: RangeInclusive<usize>, other| Selection { name: range_name(&own), designable: false, own, other };
    if lengths.len() > MAX_LENGTHS {
        let starts: BTreeSet<usize> = lengths.iter().map(|n| n / RANGE * RANGE).collect();
        let range = |start: usize| start..=start + RANGE - 1;
        return starts.into_iter().map(|start| selection(range(start), range(start))).collect();
    }
    let about = |n: usize| {
        let tolerance = (TOLERANCE * n as f64).floor() as usize;
        n - tolerance..=n + tolerance
    };
    lengths.iter().map(|&n| selection(n..=n, about(n))).collect()
}

fn range_name(range: &RangeInclusive<usize>) -> String {
    match (range.start(), range.end()) {
        (_, &usize::MAX) => "all".into(),
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

/// Refuses to replace files unasked.
pub(super) fn check_out(out: &Path, options: &Options) -> Result<()> {
    let mut files = [BACKBONES, REFERENCE, SUMMARY, REPORT].iter().map(|name| out.join(name));
    files.try_for_each(|file| refuse_existing(&file, options.overwrite))
}

/// Writes a set's chains, one a line.
fn write_csv(path: &Path, set: &Set) -> Result<()> {
    let rows = set.chains.iter().map(|chain| fields(chain).map(|(_, value)| value).to_vec());
    let header = set.chains.first().map(|chain| fields(chain).map(|(name, _)| name));
    let table = header.map_or(Ok(Vec::new()), |header| csv(&header, rows))?;
    write_whole(path, &table)
}

/// A row of the table of chains: the columns' names and what stands in them.
fn fields(chain: &Backbone) -> [(&'static str, String); 25] {
    let shape = &chain.shape;
    let known = |value: Option<f64>| value.map_or(String::new(), decimal);
    let part = |kind| decimal(share(&chain.structure, kind));
    [
        ("file", chain.file.clone()),
        ("chain", chain.chain.clone()),
        ("length", shape.length.to_string()),
        ("ca_ca_mean", decimal(shape.ca_ca_mean)),
        ("ca_ca_std", decimal(shape.ca_ca_std)),
        ("ca_ca_median", decimal(shape.ca_ca_median)),
        ("ca_ca_min", decimal(shape.ca_ca_min)),
        ("ca_ca_max", decimal(shape.ca_ca_max)),
        ("ca_ca_good", decimal(shape.ca_ca_good)),
        ("breaks", shape.breaks.to_string()),
        ("close_pairs", shape.close_pairs.to_string()),
        ("clashes", decimal(shape.clashes())),
        ("radius", decimal(shape.radius)),
        ("radius_ratio", decimal(shape.radius_ratio)),
        ("helix", part(Structure::Helix)),
        ("strand", part(Structure::Strand)),
        ("coil", part(Structure::Coil)),
        ("turns", shape.turns.to_string()),
        ("right_handed", decimal(shape.right_handed())),
        ("mean_tm", known(chain.mean_tm)),
        ("cluster", chain.cluster.map_or(String::new(), |cluster| cluster.to_string())),
        ("nearest_tm", known(chain.nearest.as_ref().map(|nearest| nearest.tm))),
        ("nearest", chain.nearest.as_ref().map_or(String::new(), |nearest| nearest.name.clone())),
        ("sc_rmsd", known(chain.sc_rmsd)),
        ("structure", chain.structure.iter().map(|s| s.letter()).collect()),
    ]
}

/// A number with up to six decimals; nothing for what there is none of.
fn decimal(value: f64) -> String {
    match value.is_nan() {
        true => String::new(),
        false => ((value * 1e6).round() / 1e6).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shown_one_by_one_or_in_ranges() {
        let ranges = |lengths: BTreeSet<usize>| -> Vec<_> {
            by_length(&lengths).into_iter().map(|selection| (selection.own, selection.other)).collect()
        };
        assert_eq!(ranges([60, 105].into()), [(60..=60, 54..=66), (105..=105, 95..=115)]);
        let of_fifty = |k: usize| (50 * k..=50 * k + 49, 50 * k..=50 * k + 49);
        assert_eq!(ranges((40..160).step_by(9).collect()), [0, 1, 2, 3].map(of_fifty));
        assert_eq!((range_name(&(0..=usize::MAX)), range_name(&(54..=66))), ("all".into(), "54-66".into()));
        assert_eq!(range_name(&(60..=60)), "60");
    }

    #[test]
    fn numbers_of_tables() {
        for (value, text) in [(3.8, "3.8"), (1.0 / 3.0, "0.333333"), (f64::NAN, ""), (12.0, "12"), (1e-9, "0")] {
            assert_eq!(decimal(value), text);
        }
    }
}
