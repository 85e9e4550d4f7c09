//! Hippo as its users meet it: the program, its file, and commands in several languages.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod configuration;
mod demo;
mod frontiers;
mod jobs;
mod operators;
mod tags;
mod tractor;
mod world;
