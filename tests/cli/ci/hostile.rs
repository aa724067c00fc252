//! Texts that try to become commands, links, markup or broken documents.

/// What a text may try.
const PAYLOADS: [&str; 25] = [
    "::error title=forged::forged",
    "::set-output name=outcome::completed",
    "::stop-commands::token",
    "::add-mask::failed",
    "##[error]forged",
    "##[group]forged",
    "##vso[task.complete result=Succeeded;]done",
    "##vso[task.setvariable variable=PATH]/tmp",
    "##teamcity[buildStatus status='SUCCESS']",
    "|'] ##teamcity[buildStop comment='x']",
    "\x1b[0Ksection_end:1:forgewatch\r\x1b[0K",
    "section_start:1:x\r\x1b[0Kforged",
    "%0A::error::forged%0D%25",
    "]]></failure><testcase name=\"forged\"/>",
    "<!DOCTYPE x [<!ENTITY y SYSTEM \"file:///etc/passwd\">]>&y;",
    "&#0;&#x1b;&lt;\u{0}\u{b}\u{fffe}\u{ffff}",
    "\x1b[2J\x1b]0;title\x07\u{9b}31m\u{7f}\u{85}",
    "\u{202e}desrever\u{2066}\u{2028}\u{2029}\u{61c}",
    "| forged | completed | `x` |\\|\\\\|",
    "``` ` `` <img src=x onerror=alert(1)>",
    "[link](https://evil.example) https://evil.example www.evil.example",
    "@everyone <@everyone> <!channel> ![x](//evil.example/x)",
    "\nEOF\noutcome=completed\njobs={}",
    "${{ secrets.KEY }} $(touch forged) `touch forged`",
    "<script>alert(1)</script><a href='x'>x</a>",
];

/// 200 texts, each with its number as `mark7.`.
pub(crate) fn texts() -> Vec<String> {
    let wrap = |payload: &str| {
        [
            payload.to_owned(),
            format!("\n{payload}"),
            format!("disk full\r\n{payload}"),
            format!("  \t{payload}"),
            format!("{payload}{payload}"),
            format!("##{payload}"),
            format!("]'|;{payload}"),
            // The cut at 8 KiB is within an escape.
            payload.repeat(9_000 / payload.len()),
        ]
    };
    let texts = PAYLOADS.iter().flat_map(|payload| wrap(payload));
    let numbered = texts.enumerate().map(|(n, text)| {
        let (head, tail) = text.split_at(text.floor_char_boundary(text.len().min(40)));
        format!("{head}mark{n}.{tail}")
    });
    numbered.collect()
}

/// A script for the simulator: `diff/1`, `diff/2` and so on fail with these texts.
pub(crate) fn script(texts: &[String]) -> String {
    let quoted = |text: &str| -> String {
        let escapes = text.chars().map(|c| format!("\\U{:08x}", u32::from(c)));
        escapes.collect()
    };
    let jobs = (1..).zip(texts).map(|(n, text)| {
        format!(
            "[[jobs]]\njob = 'diff/{n}'\nduration = '20ms'\nending = 'failed'\nerror = \"{}\"\n",
            quoted(text)
        )
    });
    jobs.collect()
}
