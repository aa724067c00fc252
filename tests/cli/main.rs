//! The program from outside: its exit status, what it prints, what it asks, against the simulator on real sockets.

mod bodies;
mod exit_status;
mod faults;
mod place;
