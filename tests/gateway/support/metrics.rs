//! The Prometheus text format, as far as assertions need it.

/// The samples of `/metrics` at one time.
#[derive(Debug)]
pub struct Metrics(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Reads the text format.
    pub fn read(text: &str) -> Metrics {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Metrics(lines.map(Sample::read).collect())
    }

    /// The sum of all samples of this name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.get(name, labels).unwrap_or(0.0)
    }

    /// The same; `None` if there is no such sample.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let samples = self.0.iter().filter(|sample| sample.is(name, labels));
        samples.map(|sample| sample.value).reduce(|sum, value| sum + value)
    }

    /// Whether there is a sample of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sample| sample.name == name)
    }

    /// Every value of every label.
    pub fn label_values(&self) -> Vec<&str> {
        self.0.iter().flat_map(|s| &s.labels).map(|(_, value)| value.as_str()).collect()
    }
}

impl Sample {
    fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let has =
            |(key, value): &(&str, &str)| self.labels.iter().any(|(k, v)| k == key && v == value);
        self.name == name && labels.iter().all(has)
    }

    fn read(line: &str) -> Sample {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap().split("\",").filter(|l| !l.is_empty());
        let label = |text: &str| {
            let (key, value) = text.split_once("=\"").unwrap();
            (key.to_owned(), value.trim_end_matches('"').to_owned())
        };
        Sample {
            name: name.to_owned(),
            labels: labels.map(label).collect(),
            value: value.parse().unwrap(),
        }
    }
}
