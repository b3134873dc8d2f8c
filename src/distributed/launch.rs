//! How this process was started, told from the variables that launchers set.

use crate::{Error, Result};

/// Alone, or with others.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Launch {
    /// By hand: nobody to talk to.
    Alone,
    /// By a launcher that MPI can talk to, with this many processes where it says so.
    Group { size: Option<usize> },
}

/// One of these is set by every launcher through which MPI finds its peers (Open MPI's `mpirun`, PMIx, PMI).
const LAUNCHED: [&str; 4] = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"];
/// Where launchers say how many processes they started, the innermost launcher first.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", SLURM_TASKS];
/// The number of tasks of an `srun` step. A batch script that was not started by `srun` has `SLURM_NTASKS`
/// but not this.
const SLURM_TASKS: &str = "SLURM_STEP_NUM_TASKS";

impl Launch {
    /// Reads the environment through `variable`.
    ///
    /// # Errors
    /// [`Error::World`] for a count that is no number, and for several `srun` tasks without PMI: they would
    /// be as many independent runs.
    pub(super) fn detect(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        if LAUNCHED.iter().any(|name| variable(name).is_some()) {
            let size = SIZES.iter().find_map(|name| Some((name, variable(name)?)));
            return Ok(Launch::Group { size: size.map(|(name, value)| count(name, &value)).transpose()? });
        }
        match variable(SLURM_TASKS).map(|value| count(SLURM_TASKS, &value)).transpose()? {
            None | Some(1) => Ok(Launch::Alone),
            Some(tasks) => Err(Error::World(format!(
                "srun started {tasks} tasks without telling them of each other ({SLURM_TASKS}={tasks}, but no PMI \
                 variables): start them with `srun --mpi=pmix`"
            ))),
        }
    }
}

fn count(name: &str, value: &str) -> Result<usize> {
    let count = value.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| Error::World(format!("{name}={value:?}: expected the number of processes, at least 1")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(variables: &[(&str, &str)]) -> Result<Launch> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        Launch::detect(find)
    }

    #[test]
    fn launchers_are_told_apart() {
        let alone: [&[_]; 3] = [&[], &[("SLURM_STEP_NUM_TASKS", "1")], &[("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0")]];
        for variables in alone {
            assert_eq!(detect(variables).unwrap(), Launch::Alone, "{variables:?}");
        }
        let groups: [(&[_], _); 5] = [
            (&[("OMPI_COMM_WORLD_SIZE", "4")], Some(4)),
            (&[("OMPI_COMM_WORLD_SIZE", "4"), ("SLURM_STEP_NUM_TASKS", "2")], Some(4)),
            (&[("PMIX_RANK", "0"), ("SLURM_STEP_NUM_TASKS", "2")], Some(2)),
            (&[("PMI_RANK", "1"), ("PMI_SIZE", "8")], Some(8)),
            (&[("PMIX_RANK", "0")], None),
        ];
        for (variables, size) in groups {
            assert_eq!(detect(variables).unwrap(), Launch::Group { size }, "{variables:?}");
        }
    }

    #[test]
    fn independent_slurm_tasks_are_refused_with_the_remedy() {
        let error = detect(&[("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_PROCID", "3")]).unwrap_err().to_string();
        assert!(error.contains("started 4 tasks") && error.contains("srun --mpi=pmix"), "{error}");
        for wrong in ["four", "0", "-1", ""] {
            let error = detect(&[("OMPI_COMM_WORLD_SIZE", wrong)]).unwrap_err().to_string();
            assert!(error.contains("OMPI_COMM_WORLD_SIZE"), "{error}");
        }
    }
}
