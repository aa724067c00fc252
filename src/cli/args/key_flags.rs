//! The flags of `watch` that have a key in the configuration file, made from the table of keys.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, ValueHint};

use crate::config::{FlagHelp, flags};

/// Name and value of each flag on the command line.
#[derive(Debug)]
pub struct KeyFlags(pub Vec<(&'static str, String)>);

impl Args for KeyFlags {
    fn augment_args(command: Command) -> Command {
        flags().fold(command, |command, flag| command.arg(arg(flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for KeyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = flags().filter_map(|flag| {
            let value = matches.get_one::<String>(long(&flag))?;
            Some((flag.name, value.clone()))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn arg(flag: FlagHelp) -> Arg {
    let long = long(&flag);
    let heading = match flag.section {
        "api" => "API",
        "schedule" => "Schedule",
        "state" => "State",
        other => other,
    };
    let arg = Arg::new(long)
        .long(long)
        .value_name(flag.value_name)
        .help_heading(heading)
        .help(flag.help);
    match (flag.value_name, flag.words) {
        ("FILE", _) => arg.value_hint(ValueHint::FilePath),
        (_, []) => arg,
        (_, words) => arg.value_parser(PossibleValuesParser::new(words)),
    }
}

/// The name without hyphens.
fn long(flag: &FlagHelp) -> &'static str {
    flag.name.trim_start_matches('-')
}
