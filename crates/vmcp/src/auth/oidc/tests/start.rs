//! Settings with which no token could be checked.

use super::*;

fn error(settings: OidcSettings) -> Option<String> {
    Oidc::new(settings).err().map(|error| error.to_string())
}

#[test]
fn what_cannot_be_is_refused_at_the_start_by_the_name_of_its_field() {
    let of = |issuer: &str| settings(KeysSettings::of(issuer));
    for issuer in ["https://id.example.com", "http://127.0.0.1:9000/realms/a/"] {
        assert_eq!(error(of(issuer)), None);
    }
    for wrong in [
        "ftp://id.example.com",
        "nonsense",
        "",
        "https://",
        " https://a",
    ] {
        let url = format!("must be an http or https URL, not {wrong:?}");
        let good = "https://id.example.com";
        assert_eq!(error(of(wrong)), Some(format!("issuer {url}")));

        let mut settings = of(good);
        settings.keys.jwks_url = Some(wrong.to_owned());
        assert_eq!(error(settings), Some(format!("jwksUrl {url}")));

        let resource = Some(wrong.to_owned());
        let settings = OidcSettings {
            resource,
            ..of(good)
        };
        assert_eq!(error(settings), Some(format!("resource {url}")));
    }
    for audience in ["", " "] {
        let audience = audience.to_owned();
        let settings = OidcSettings {
            audience,
            ..of("https://id.example.com")
        };
        assert_eq!(error(settings).unwrap(), "audience must not be empty");
    }
    let resource = Some("https://mcp.example.com/mcp#top".to_owned());
    let settings = OidcSettings {
        resource,
        ..of("https://id.example.com")
    };
    assert_eq!(error(settings).unwrap(), "resource must have no fragment");
}
