//! What is printed, as snapshots: every event in every mode, on real and on small screens.

mod frames;
mod lines;
mod longest;
mod samples;
mod schema;
mod screen;
mod stream;
