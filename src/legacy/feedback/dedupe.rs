//! What of the items is worth showing: the well-founded ones, each finding once.
//!
//! Likeness of two descriptions is the Sørensen-Dice coefficient of their pairs of neighbouring
//! letters: it is linear in their lengths, where edit distances are quadratic, and it does not
//! mind moved words, which is how models repeat themselves. It counts characters, so that it
//! means the same in every script.

use super::Item;

/// Items less sure than this are dropped.
pub const MIN_CONFIDENCE: f64 = 0.8;

/// Descriptions this alike, in percent, are one finding.
const ALIKE_PERCENT: usize = 85;

/// Drops items below the minimum confidence and all but the most confident of similar items; the
/// rest is sorted by ascending confidence. Among equals the order stays, and the first is kept.
///
/// The work grows with the square of the number of items, which [`read`](super::read) bounds.
pub fn dedupe(items: Vec<Item>) -> Vec<Item> {
    let sure = |(_, item): &(usize, Item)| item.confidence >= MIN_CONFIDENCE;
    let mut ranked: Vec<(usize, Item)> = items.into_iter().enumerate().filter(sure).collect();
    ranked.sort_by(|(_, a), (_, b)| b.confidence.total_cmp(&a.confidence));
    let mut findings: Vec<Letters> = Vec::new();
    ranked.retain(|(_, item)| {
        let letters = Letters::of(&item.description);
        let new = !findings.iter().any(|finding| finding.is_like(&letters));
        if new {
            findings.push(letters);
        }
        new
    });
    ranked
        .sort_by(|(a_at, a), (b_at, b)| a.confidence.total_cmp(&b.confidence).then(a_at.cmp(b_at)));
    ranked.into_iter().map(|(_, item)| item).collect()
}

/// A text's letters, without case and blanks, and their neighbouring pairs, sorted.
struct Letters {
    letters: Vec<char>,
    pairs: Vec<(char, char)>,
}

impl Letters {
    fn of(text: &str) -> Letters {
        let letters: Vec<char> =
            text.chars().flat_map(char::to_lowercase).filter(|c| !c.is_whitespace()).collect();
        let mut pairs: Vec<(char, char)> =
            letters.iter().copied().zip(letters.iter().copied().skip(1)).collect();
        pairs.sort_unstable();
        Letters { letters, pairs }
    }

    /// Whether twice the pairs that both have are [`ALIKE_PERCENT`] of all pairs.
    fn is_like(&self, other: &Letters) -> bool {
        if self.letters == other.letters {
            return true;
        }
        let (mine, others) = (self.pairs.len(), other.pairs.len());
        let enough = |common: usize| common > 0 && 200 * common >= ALIKE_PERCENT * (mine + others);
        // Texts of very different lengths can't be similar.
        enough(mine.min(others)) && enough(common(&self.pairs, &other.pairs))
    }
}

/// How many elements two sorted lists have in common, repetitions counted.
fn common<T: Ord>(a: &[T], b: &[T]) -> usize {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut common = 0;
    while let (Some(left), Some(right)) = (a.peek(), b.peek()) {
        match left.cmp(right) {
            std::cmp::Ordering::Less => _ = a.next(),
            std::cmp::Ordering::Greater => _ = b.next(),
            std::cmp::Ordering::Equal => {
                common += 1;
                a.next();
                b.next();
            }
        }
    }
    common
}
