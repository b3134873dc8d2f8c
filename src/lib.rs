//! **qsd** trains *quotient-space diffusion models* of molecules and protein backbones on many processes and samples
//! from them.
//!
//! A molecule's shape does not change when it is turned or moved, so a denoiser should not be taught
//! turns: its error is projected onto the directions that change the shape (Xu et al., *Quotient-Space
//! Diffusion Models*, ICLR 2026), and the sampler moves along these directions only.
//!
//! # Layout
//! Data flows one way, downwards in this list's last column; a room imports only from lower floors.
//!
//! | floor | room | part |
//! |---|---|---|
//! | 1 | [`geometry`] | ragged point clouds, groups that act on them, rigid alignment |
//! | 1 | [`chem`] | molecules: graph, features, SMILES, SDF |
//! | 1 | [`bio`] | proteins: chains from PDB and mmCIF, fold classes, clusters, backbones as files |
//! | 1 | [`distributed`] | processes that exchange spans of numbers; the canonical sum |
//! | 1 | [`random`] | counter-based randomness |
//! | 1 | [`files`] | files that appear whole or not at all, folders that one process holds |
//! | 1 | [`config`] | YAML with `extends`, overrides and located errors → typed sections |
//! | 1 | [`cli`] | terminal progress, exit codes, requests to stop |
//! | 2 | [`data`] | shards on disk → samples in a seeded order → batches |
//! | 3 | [`eval`] | coverage, RMSD over symmetries, TM-scores, secondary structure, designability; pictures |
//! | 3 | [`diffusion`] | noise, priors, interpolants, the four objectives, samplers; the trait [`diffusion::Denoiser`] |
//! | 4 | [`model`] | the parameter buffer, the networks that implement the trait, and the engine that makes them fast on CPUs |
//! | 5 | [`train`] | the loop: optimizer, schedule, clipping, EMA, checkpoints, logs |
//! | 6 | [`sample`] | from a checkpoint to conformers or backbones |
//!
//! All of them stand on the ground: [`Error`], one type for every failure, each with its exit code.
//!
//! The programs are thin sentences over these rooms (in `src/bin`): `qsd-data` makes, checks and shows data
//! sets, `qsd-train` trains and shows checkpoints, `qsd-sample` draws conformers and backbones, `qsd-eval` judges them.

pub mod bio;
pub mod chem;
pub mod cli;
pub mod config;
pub mod data;
pub mod diffusion;
pub mod distributed;
mod error;
pub mod eval;
pub mod files;
pub mod geometry;
pub mod model;
pub mod random;
pub mod sample;
pub mod train;

pub use error::{Error, Result};
