//! What filters there are, for people: `onrush filter list` and `docs/filters.md`.

use std::fmt::Write;

use serde::Serialize;

use crate::{
    filter::{Filter, LATER},
    stack::ORDER,
};

/// A filter, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilterDoc {
    /// Its name, as `use` spells it.
    pub name: &'static str,
    /// What it does, in a sentence or two.
    pub summary: &'static str,
    /// What it may be tuned to.
    pub parameters: Vec<ParameterDoc>,
    /// As in a manifest.
    pub example: &'static str,
}

/// A parameter, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParameterDoc {
    /// Its name.
    pub name: &'static str,
    /// What it looks like, such as `100/s`.
    pub form: &'static str,
    /// What it is where it is left out; none if it must be given.
    pub default: Option<String>,
    /// What it means, with unit and limits.
    pub meaning: &'static str,
}

/// Every filter, in the order of the stack.
pub fn documentation() -> Vec<FilterDoc> {
    ORDER.iter().map(|document| document()).collect()
}

pub(crate) fn document<F: Filter>() -> FilterDoc {
    let parameters = F::PARAMETERS.iter().map(|parameter| ParameterDoc {
        name: parameter.name,
        form: parameter.form,
        default: parameter.default.map(str::to_owned),
        meaning: parameter.meaning,
    });
    FilterDoc { name: F::NAME, summary: F::SUMMARY, parameters: parameters.collect(), example: F::EXAMPLE }
}

const OPENING: &str = "\
# Filters

What an operator may put between a request and its function, per route:

```toml
[[route]]
path = \"/thumb/{*rest}\"
methods = [\"GET\"]
function = \"thumbnail\"
filters = [ { use = \"rate-limit\", rate = \"100/s\", per = \"ip\" }, { use = \"coalesce\" }, { use = \"cache\", ttl = \"60s\" } ]
```

Calls to `/function/NAME` pass no filters. A route has each filter at most once. Requests pass them in the order of this page, whatever the
order in the manifest; replies pass `headers`, `compress` and `cors` on their way back. What is wrong with a filter is refused when the
route is set, with the place: `filters[1].rate: ...`.

`onrush filter list` prints the same. This page is made from the code: `ONRUSH_REWRITE=1 cargo test -p onrush-filters` writes it.
";

/// The same as a page of `docs/`.
pub fn markdown() -> String {
    let mut page = OPENING.to_owned();
    // Writing to a String does not fail.
    let _never = write_filters(&mut page);
    page
}

fn write_filters(page: &mut String) -> std::fmt::Result {
    for filter in documentation() {
        write!(page, "\n## {}\n\n{}\n\n```toml\n{}\n```\n", filter.name, filter.summary, filter.example)?;
        write!(page, "\n| parameter | form | default | meaning |\n|---|---|---|---|\n")?;
        for parameter in filter.parameters {
            let default = match &parameter.default {
                None => "must be given".to_owned(),
                Some(words) if words.starts_with('(') => words.trim_matches(['(', ')']).to_owned(),
                Some(value) => format!("`{value}`"),
            };
            let row = [
                format!("`{}`", parameter.name),
                format!("`{}`", parameter.form),
                default,
                parameter.meaning.to_owned(),
            ];
            writeln!(page, "| {} |", row.map(|cell| cell.replace('|', "\\|")).join(" | "))?;
        }
    }
    writeln!(
        page,
        "\n## Not yet available\n\n{}: these names are taken.",
        LATER.map(|name| format!("`{name}`")).join(", ")
    )
}

#[cfg(test)]
mod tests {
    use onrush_types::FilterUse;
    use serde_json::Value;

    use super::*;
    use crate::{Gateways, Stack};

    #[test]
    fn each_filter_is_listed_once_and_known_by_its_name() {
        let names: Vec<_> = documentation().iter().map(|filter| filter.name).collect();
        let once: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(once.len(), names.len());
        for name in names {
            let used = FilterUse { filter: name.to_owned(), parameters: serde_json::Map::new() };
            let problems = Stack::compile(&[used], &Gateways::default()).err().unwrap_or_default();
            assert!(problems.iter().all(|problem| problem.place != "filters[0].use"), "{problems:?}");
        }
    }

    fn example(text: &str) -> FilterUse {
        let route: toml::Table = format!("filter = {text}").parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        serde_json::from_value(serde_json::to_value(&route["filter"]).unwrap()).unwrap()
    }

    #[test]
    fn the_examples_work_and_so_do_the_defaults_that_the_page_names() {
        for filter in documentation() {
            let plain = example(filter.example);
            assert_eq!(plain.filter, filter.name);
            assert_eq!(
                Stack::compile(std::slice::from_ref(&plain), &Gateways::default()).err(),
                None,
                "{}",
                filter.name
            );
            for parameter in filter.parameters {
                let Some(default) = parameter.default.filter(|text| !text.starts_with('(')) else { continue };
                let mut explicit = plain.clone();
                let value = serde_json::from_str(&default).unwrap_or(Value::String(default));
                explicit.parameters.insert(parameter.name.to_owned(), value);
                let problems = Stack::compile(&[explicit], &Gateways::default()).err();
                assert_eq!(problems, None, "{}.{}", filter.name, parameter.name);
            }
        }
    }
}
