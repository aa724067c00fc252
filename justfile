# What one types often. `just` alone lists it.

default:
    @just --list

# Format, lint, test, document: what the gate does.
ci:
    .ci/run

# The tests, all of them.
test *ARGS:
    cargo test {{ ARGS }}

# Lints as the gate has them.
lint:
    cargo fmt --all --check
    cargo clippy --all-targets --locked -- -D warnings

# Writes the files that are made from the table of configuration keys anew.
shipped:
    UPDATE_SHIPPED=1 cargo test --lib config::manual

# The picture in the README, from a real run.
picture:
    docs/picture.sh

# One benchmark: schedule, poll, idle, start, oneshot, decode or store.
bench NAME *ARGS:
    cargo bench --bench {{ NAME }} -- {{ ARGS }}

# Throws rubbish at the decoder for this many seconds.
fuzz SECONDS="600":
    mkdir -p fuzz/corpus/decode
    cargo +nightly fuzz run --sanitizer none decode fuzz/corpus/decode fuzz/seeds/decode -- \
        -dict=fuzz/json.dict -max_len=4096 -max_total_time={{ SECONDS }}

# The simulator alone, ten times faster.
simulate *ARGS:
    cargo run --release -- simulate --speed 10 {{ ARGS }}

# As root: program, unit, group, man pages, completions and a first configuration, onto this machine or into DESTDIR.
install PREFIX="/usr" DESTDIR="":
    cargo build --release --locked
    PREFIX={{ PREFIX }} DESTDIR={{ DESTDIR }} systemd/install.sh install

# Takes away what `install` put there, except configuration, state and group.
uninstall PREFIX="/usr" DESTDIR="":
    PREFIX={{ PREFIX }} DESTDIR={{ DESTDIR }} systemd/install.sh uninstall
