//! Properties of the manifests over random policies and requests, with what Istio makes of them as [`meaning`] has it. That Envoy agrees with
//! [`meaning`] is tried in the integration tests.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use crate::policy::decide::Verdict;
use crate::policy::properties::strategies::{self, rules};

mod cases;
mod meaning;

use cases::{as_json, asked, compile, export, policy, sayable_rules, unexplained};

const PORT: u16 = 8080;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::policy::properties::cases() / 4))]

    #[test]
    fn j7_the_workload_allows_nothing_that_the_edge_refuses_and_tells_what_it_refuses(rules in prop_oneof![rules(), sayable_rules()], requests in vec(asked(), 1..40), takes_all: bool) {
        let policy = compile(policy(rules, PORT));
        let export = export(&policy, json!({ "keys": [] }), false);
        let manifests = as_json(&export);
        for asked in &requests {
            let Some(mut passage) = asked.pass(&policy, PORT) else { continue };
            passage.seen.takes_all = takes_all;
            let allowed = meaning::is_allowed(&manifests, &passage.seen);
            let wrong = unexplained(&policy, &export, &passage, allowed);
            prop_assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
        }
    }
}

/// Or the property above would be about nothing.
#[test]
fn most_of_what_the_edge_allows_is_allowed_at_the_workload() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut both, mut edge_alone, mut neither, mut workload_alone) = (0, 0, 0, 0);
    for _ in 0..300 {
        let mut rules = || sayable_rules().new_tree(&mut runner).unwrap().current();
        let policy = compile(policy(rules(), PORT));
        let export = export(&policy, json!({ "keys": [] }), false);
        let manifests = as_json(&export);
        let requests = vec(asked(), 20..21).new_tree(&mut runner).unwrap();
        for asked in requests.current() {
            let Some(passage) = asked.pass(&policy, PORT) else {
                continue;
            };
            let at_the_edge = matches!(passage.verdict, Verdict::Allow { .. });
            match (at_the_edge, meaning::is_allowed(&manifests, &passage.seen)) {
                (true, true) => both += 1,
                (true, false) => edge_alone += 1,
                (false, true) => workload_alone += 1,
                (false, false) => neither += 1,
            }
        }
    }
    let told = format!("{both} {edge_alone} {neither} {workload_alone}");
    assert!(both > 10 * edge_alone, "{told}");
    assert!(neither > 20 * workload_alone, "{told}");
    assert!(both > 1000 && neither > 1000, "{told}");
}
