//! "Did you mean …?"

/// The candidate closest to `word`, if at most a third of the longer word's letters differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::levenshtein(word, candidate), candidate))
        .filter(|(edits, candidate)| {
            edits * 3 <= word.chars().count().max(candidate.chars().count())
        })
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_recognized_and_a_different_word_is_not() {
        let keys = ["min_interval", "max_interval", "policy"];
        assert_eq!(nearest("mininterval", keys), Some("min_interval"));
        assert_eq!(nearest("polcy", keys), Some("policy"));
        assert_eq!(nearest("colour", keys), None);
    }
}
