//! Draws a terminal's text with ANSI colors, from standard input, as an SVG on standard output. `docs/picture.sh` makes
//! the README's pictures with it.

use std::io::{self, Read, Write};

use anstyle_svg::Term;

fn main() -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let svg = Term::new().render_svg(&text);
    io::stdout().write_all(svg.as_bytes())
}
