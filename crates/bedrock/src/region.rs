//! The regions of AWS, their partitions, and the geographies of inference profiles.
//!
//! AWS adds regions. One that is not here is not refused anywhere; the gateway then just knows nothing
//! of it.

/// The regions of the partitions that Bedrock is in.
const REGIONS: [&str; 38] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// All regions that are known.
pub fn known() -> impl Iterator<Item = &'static str> {
    REGIONS.into_iter()
}

/// The partition of a region, as ARNs name it; `None` if the region is not known.
pub fn partition(region: &str) -> Option<&'static str> {
    let is_known = REGIONS.contains(&region);
    is_known.then(|| match region.get(..3) {
        Some("cn-") => "aws-cn",
        Some("us-") if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    })
}

/// The geographies of the inference profiles that keep requests near a region, the narrowest first; none
/// for a region whose profiles are all of other continents.
pub fn geographies(region: &str) -> &'static [&'static str] {
    const JAPAN: [&str; 2] = ["ap-northeast-1", "ap-northeast-3"];
    const AUSTRALIA: [&str; 2] = ["ap-southeast-2", "ap-southeast-4"];
    const INDIA: [&str; 2] = ["ap-south-1", "ap-south-2"];
    match region {
        _ if partition(region) == Some("aws-us-gov") => &["us-gov"],
        _ if partition(region) != Some("aws") => &[],
        _ if region.starts_with("us-") => &["us"],
        _ if region.starts_with("eu-") => &["eu"],
        _ if region.starts_with("ca-") => &["ca"],
        _ if JAPAN.contains(&region) => &["jp", "apac"],
        _ if AUSTRALIA.contains(&region) => &["au", "apac"],
        _ if INDIA.contains(&region) => &["in", "apac"],
        _ if region.starts_with("ap-") => &["apac"],
        _ => &[],
    }
}

/// Whether an inference profile of this geography can't be called in a region: the two are on other
/// sides of the world, or in other partitions. Of what is not known nothing is said.
pub fn is_elsewhere(geography: &str, region: &str) -> bool {
    let Some(partition) = partition(region) else { return false };
    let is_in = |areas: &[&str]| areas.iter().any(|area| region.starts_with(area));
    match geography {
        "us-gov" => partition != "aws-us-gov",
        _ if partition != "aws" => true,
        // Some profiles may be called from neighbours, too.
        "us" => !is_in(&["us-", "ca-", "mx-", "sa-"]),
        "ca" => !is_in(&["ca-", "us-"]),
        "eu" => !is_in(&["eu-", "il-", "me-", "af-"]),
        "apac" => !is_in(&["ap-", "me-", "il-"]),
        "jp" => !is_in(&["ap-northeast-"]),
        "au" => !is_in(&["ap-southeast-"]),
        "in" => !is_in(&["ap-south-"]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_the_partitions_of_their_names() {
        assert_eq!(partition("us-east-1"), Some("aws"));
        assert_eq!(partition("us-gov-west-1"), Some("aws-us-gov"));
        assert_eq!(partition("cn-north-1"), Some("aws-cn"));
        assert_eq!(partition("us-esat-1"), None);
        assert_eq!(partition(""), None);
    }

    #[test]
    fn geographies_hold_their_regions() {
        for (geography, region) in [
            ("us", "us-east-1"),
            ("us", "ca-central-1"),
            ("eu", "eu-west-1"),
            ("apac", "ap-south-1"),
            ("jp", "ap-northeast-3"),
            ("au", "ap-southeast-2"),
            ("us-gov", "us-gov-east-1"),
            ("global", "eu-west-1"),
            ("us", "us-new-1"),
        ] {
            assert!(!is_elsewhere(geography, region), "{geography} {region}");
        }
        for (geography, region) in [
            ("us", "eu-west-1"),
            ("eu", "us-east-1"),
            ("apac", "us-west-2"),
            ("jp", "ap-south-1"),
            ("us", "us-gov-west-1"),
            ("us-gov", "us-east-1"),
            ("global", "us-gov-west-1"),
        ] {
            assert!(is_elsewhere(geography, region), "{geography} {region}");
        }
    }
}
