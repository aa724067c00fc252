//! Checks the structure of the code: which part may import which, and that files do not import each other in circles.
//!
//! It reads the `use` lines of all production code. Cargo enforces the rest: the crates know each other only as their
//! manifests say. `docs/code-structure.md` lists the arrows.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each part of `src/` may import of the others, besides the core.
const ALLOWED: [(&str, &[&str]); 16] = [
    ("main", &["app", "cli", "config"]),
    ("lib", &[]),
    (
        "cli",
        &[
            "app",
            "config",
            "control",
            "hooks",
            "http_client",
            "os",
            "report",
            "store",
        ],
    ),
    (
        "app",
        &[
            "clanforge",
            "config",
            "control",
            "daemon",
            "engine",
            "hooks",
            "http_api",
            "http_client",
            "metrics",
            "os",
            "report",
            "store",
        ],
    ),
    ("daemon", &["clanforge", "engine", "hooks", "store"]),
    ("control", &["http_client", "store"]),
    ("http_api", &["control", "metrics", "store"]),
    ("report", &[]),
    ("metrics", &[]),
    ("os", &[]),
    ("config", &["clanforge", "engine", "hooks", "http_client"]),
    ("engine", &["clanforge", "store"]),
    ("hooks", &["engine", "http_client", "store"]),
    ("clanforge", &["http_client"]),
    ("http_client", &[]),
    ("store", &[]),
];

/// Accepted circles of imports among files.
const CIRCLES: &[&[&str]] = &[];

#[test]
fn parts_import_each_other_along_the_arrows_only() {
    let allowed: BTreeMap<_, _> = ALLOWED.into_iter().collect();
    let mut wrong = Vec::new();
    for file in Source::all_below("src") {
        let part = file.module.first().map_or("lib", String::as_str);
        let may = allowed
            .get(part)
            .unwrap_or_else(|| panic!("src/{part} is new: give it a row in ALLOWED"));
        for import in &file.imports {
            let Some(target) = import.first() else {
                continue;
            };
            if allowed.contains_key(target.as_str())
                && target != part
                && !may.contains(&target.as_str())
            {
                let path = file.path.display();
                wrong.push(format!("{path} imports {}", import.join("::")));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports against the rule:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    let mut found = Vec::new();
    for root in [
        "src",
        "crates/forgewatch-core/src",
        "crates/forgewatch-sim/src",
    ] {
        found.extend(circles(&Source::all_below(root)));
    }
    let accepted: Vec<Vec<String>> = CIRCLES
        .iter()
        .map(|files| files.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(found, accepted, "circles of imports");
}

#[test]
fn imports_are_read_as_rust_reads_them() {
    let text = "use std::fmt;\nuse crate::{a::{self, B}, c::d::E as F};\npub use super::g::*;\n\
                fn h() { crate::i::j(); }\n#[cfg(test)]\nmod tests {\n    use crate::k;\n}\n";
    let module = ["m".to_owned(), "n".to_owned()];
    let imports: Vec<String> = imports(text, &module)
        .iter()
        .map(|path| path.join("::"))
        .collect();
    assert_eq!(imports, ["a", "a::B", "c::d::E", "i::j", "m::g"]);
}

/// `docs/code-structure.md` names files: each exists.
#[test]
fn the_page_on_the_code_names_files_that_exist() {
    let page = include_str!("../docs/code-structure.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for name in page.split('`').skip(1).step_by(2) {
        let is_file = name.contains('/') && !name.contains(' ');
        if is_file {
            let found = [root.join("src").join(name), root.join(name)];
            assert!(found.iter().any(|path| path.exists()), "{name}");
            count += 1;
        }
    }
    assert!(count > 25, "{count} names of files");
}

/// A file of production code.
struct Source {
    path: PathBuf,
    /// Its module path in its crate; empty for the crate's root.
    module: Vec<String>,
    /// Full paths in its own crate.
    imports: BTreeSet<Vec<String>>,
}

impl Source {
    fn all_below(root: &str) -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
        let mut files = Vec::new();
        collect(&folder, &mut files);
        files.sort();
        assert!(files.len() > 5, "no source files below {root}");
        files
            .into_iter()
            .map(|path| {
                let inner = path.strip_prefix(&folder).unwrap();
                let module = module_of(inner);
                let text = fs::read_to_string(&path).unwrap();
                Self {
                    imports: imports(&text, &module),
                    path: Path::new(root).join(inner),
                    module,
                }
            })
            .collect()
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_test = ["tests", "fixtures", "properties"].contains(&stem.as_str())
            || stem.ends_with("_tests");
        if is_test {
        } else if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn module_of(inner: &Path) -> Vec<String> {
    let mut module: Vec<String> = inner
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if module.last().is_some_and(|last| last == "mod") || (module.len() == 1 && module[0] == "lib")
    {
        module.pop();
    }
    module
}

/// All paths into the file's own crate: those of `use`, and those written out in the code.
fn imports(text: &str, module: &[String]) -> BTreeSet<Vec<String>> {
    let production = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    let code: String = production
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut written = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let line_start = code[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let before = code[line_start..at].trim();
        if before.is_empty() || before.starts_with("pub") {
            let tree = code[at + 4..].split(';').next().unwrap();
            expand(tree, &[], &mut written);
        }
    }
    for (at, _) in code.match_indices("crate::") {
        let path: String = code[at..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || matches!(c, ':' | '_'))
            .collect();
        written.push(split(&path));
    }
    written
        .into_iter()
        .filter_map(|path| absolute(&path, module))
        .filter(|path| !path.is_empty())
        .collect()
}

fn split(path: &str) -> Vec<String> {
    path.split("::")
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Writes out the paths of a `use` tree: `a::{self, b::C}` is `a` and `a::b::C`.
fn expand(tree: &str, prefix: &[String], paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let mut path = prefix.to_vec();
    let Some((head, rest)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap();
        let is_root = prefix.is_empty();
        path.extend(
            split(name)
                .into_iter()
                .filter(|part| part != "*" && (is_root || part != "self")),
        );
        paths.push(path);
        return;
    };
    path.extend(split(head));
    let (mut depth, mut start) = (0, 0);
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                if !rest[start..at].trim().is_empty() {
                    expand(&rest[start..at], &path, paths);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The path from the crate's root; None for other crates.
fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    let mut base = match path.first()?.as_str() {
        "crate" | "forgewatch" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        _ => return None,
    };
    let mut rest = &path[1..];
    while rest.first().is_some_and(|part| part == "super") {
        base.pop();
        rest = &rest[1..];
    }
    base.extend_from_slice(rest);
    Some(base)
}

/// Groups of files that reach each other by imports, each sorted.
fn circles(files: &[Source]) -> Vec<Vec<String>> {
    let of_module: BTreeMap<&[String], usize> = files
        .iter()
        .enumerate()
        .map(|(at, file)| (file.module.as_slice(), at))
        .collect();
    let edges: Vec<BTreeSet<usize>> = files
        .iter()
        .enumerate()
        .map(|(from, file)| {
            let targets = file.imports.iter().filter_map(|path| {
                (1..=path.len())
                    .rev()
                    .find_map(|len| of_module.get(&path[..len]).copied())
            });
            targets.filter(|to| *to != from).collect()
        })
        .collect();
    let reach: Vec<BTreeSet<usize>> = (0..files.len())
        .map(|from| {
            let (mut seen, mut queue) = (BTreeSet::new(), vec![from]);
            while let Some(at) = queue.pop() {
                queue.extend(edges[at].iter().filter(|&&to| seen.insert(to)));
            }
            seen
        })
        .collect();
    let mut groups = BTreeSet::new();
    for at in 0..files.len() {
        let group: Vec<String> = reach[at]
            .iter()
            .filter(|&&other| reach[other].contains(&at))
            .map(|&other| files[other].path.display().to_string())
            .collect();
        if group.len() > 1 {
            groups.insert(group);
        }
    }
    groups.into_iter().collect()
}
