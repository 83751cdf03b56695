//! What a request takes of a quota of tokens, and what it costs in the end.
//!
//! Bedrock's runtime counts input and output together: a request takes its input and its maximum of output, and
//! costs its input and its output times the burndown. The Mantle endpoint and the reserved tier count the two
//! apart: the quota of input tokens must have room for the input and the maximum of output, and is charged the
//! input; the quota of output tokens is charged what is produced. These rules are plain functions here.

/// The tokens that a request takes at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenDemand {
    /// Its input and its maximum of output. It takes them of a quota of all tokens, or of one of input tokens.
    pub total: u64,
    /// The output that is likely. It takes them of a quota of output tokens.
    pub output: u64,
}

impl From<u64> for TokenDemand {
    /// The demand on a quota of all tokens.
    fn from(total: u64) -> TokenDemand {
        TokenDemand { total, output: 0 }
    }
}

/// What a request has cost as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCharge {
    /// Input tokens, with those written to a prompt cache and without those read from one.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// What an output token costs of a quota of all tokens.
    pub burndown: u64,
}

impl TokenCharge {
    /// What it costs of a quota of all tokens.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output.saturating_mul(self.burndown))
    }
}

impl From<u64> for TokenCharge {
    /// A cost that is known as one figure.
    fn from(total: u64) -> TokenCharge {
        TokenCharge { input: total, output: 0, burndown: 1 }
    }
}

/// How a quota counts tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// Input and output together.
    Together,
    /// Input and output apart.
    Apart,
}

impl Counting {
    /// What a request takes: of the quota of all tokens or of input tokens, and of the quota of output tokens.
    pub(super) fn taken(self, demand: TokenDemand) -> (u64, u64) {
        match self {
            Counting::Together => (demand.total, 0),
            Counting::Apart => (demand.total, demand.output),
        }
    }

    /// What it costs of the same two.
    pub(super) fn charged(self, charge: TokenCharge) -> (u64, u64) {
        match self {
            Counting::Together => (charge.total(), 0),
            Counting::Apart => (charge.input, charge.output),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_request_takes_at_least_its_input_and_is_charged_each_token_once(
            input in 0u64..1_000_000, max in 0u64..200_000, share in 0.0f64..=1.0, burndown in 1u64..10,
        ) {
            let output = (max as f64 * share) as u64;
            let demand = TokenDemand { total: input + max, output };
            let charge = TokenCharge { input, output, burndown };
            let (taken, none) = Counting::Together.taken(demand);
            prop_assert_eq!((taken, none), (input + max, 0));
            prop_assert_eq!(Counting::Together.charged(charge), (input + output * burndown, 0));
            let (of_input, of_output) = Counting::Apart.taken(demand);
            let (input_cost, output_cost) = Counting::Apart.charged(charge);
            // Input tokens never cost more than was taken; output tokens cost what is produced, without a burndown.
            prop_assert!(of_input >= input_cost && input_cost == input);
            prop_assert!(of_output == output_cost && output_cost == output);
        }

        #[test]
        fn costs_of_any_size_do_not_overflow(input: u64, output: u64, burndown: u64) {
            let charge = TokenCharge { input, output, burndown };
            prop_assert!(charge.total() >= input);
        }
    }
}
