use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

use futures::FutureExt as _;
use rcgen::{CertificateParams, IsCa, KeyPair};
use toolgate_tasks::Tasks;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        folder.renew(true);
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("signed");
        folder.write("ca.crt", &authority.pem());
        folder
    }

    /// A new certificate, and its key if `whole`.
    fn renew(&self, whole: bool) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("signed");
        self.write("tls.crt", &certificate.pem());
        if whole {
            self.write("tls.key", &key.serialize_pem());
        }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).expect("written");
    }

    fn files(&self) -> TlsFiles {
        let path = |name| self.0.path().join(name);
        TlsFiles {
            certificate: path("tls.crt"),
            key: path("tls.key"),
            client_ca: Some(path("ca.crt")),
        }
    }
}

fn look(reload: &mut Reload) -> Look {
    let read = Contents::read(&reload.files);
    reload.look(read)
}

/// After a panic no new certificate was taken, until the old one had expired.
#[tokio::test(start_paused = true)]
async fn a_look_that_panics_is_followed_by_others() {
    static LOOKS: AtomicU32 = AtomicU32::new(0);
    let folder = Folder::new();
    let (tls, mut reload) = Reload::open(&folder.files()).expect("valid files");
    let first = tls.current.load_full();
    reload.read = |files| {
        let looks = LOOKS.fetch_add(1, Ordering::Relaxed);
        assert!(looks > 1, "bad luck");
        Contents::read(files)
    };
    folder.renew(true);
    let tasks = Tasks::default();
    let reloading = tasks.spawn("certificates", reload, |reload| reload.run().boxed());
    for _ in 0..10 {
        sleep(INTERVAL).await;
    }
    assert!(!Arc::ptr_eq(&first, &tls.current.load()), "never renewed");
    assert_eq!(tasks.restarts(), [("certificates", 2)]);
    reloading.abort();
}

#[test]
fn a_new_certificate_is_used_and_a_wrong_one_told_once_and_not() {
    let folder = Folder::new();
    let (tls, mut reload) = Reload::open(&folder.files()).expect("valid files");
    let first = tls.current.load_full();
    assert_eq!(look(&mut reload), Look::Unchanged);

    // The key comes between two looks.
    folder.renew(false);
    assert_eq!(look(&mut reload), Look::Unsettled);
    folder.renew(true);
    assert_eq!(look(&mut reload), Look::Unsettled);
    assert_eq!(look(&mut reload), Look::Renewed);
    let second = tls.current.load_full();
    assert!(!Arc::ptr_eq(&first, &second));

    folder.renew(false);
    assert_eq!(look(&mut reload), Look::Unsettled);
    assert_eq!(look(&mut reload), Look::Wrong);
    assert_eq!(look(&mut reload), Look::Unchanged, "told once");
    fs::remove_file(folder.files().key).expect("removed");
    assert_eq!(look(&mut reload), Look::Unsettled);
    assert_eq!(look(&mut reload), Look::Wrong);
    assert!(Arc::ptr_eq(&second, &tls.current.load_full()));

    folder.renew(true);
    assert_eq!(look(&mut reload), Look::Unsettled);
    assert_eq!(look(&mut reload), Look::Renewed);
}

#[test]
fn what_is_wrong_names_its_file_and_shows_nothing_of_a_key() {
    let spoil = |name: &str, text: &str| {
        let folder = Folder::new();
        folder.write(name, text);
        let error = Reload::open(&folder.files()).expect_err(name);
        let text = format!("{} {error:?}", in_full(&error));
        assert!(text.contains(name), "{text}");
        text
    };
    spoil("tls.crt", "");
    spoil(
        "tls.crt",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    );
    spoil("ca.crt", "no certificate");
    let key = KeyPair::generate().expect("a key").serialize_pem();
    let other = spoil("tls.key", &key);
    for line in key.lines() {
        assert!(!other.contains(line), "{other}");
    }
}

/// The contents hold the private key.
#[test]
fn nothing_of_a_key_is_in_debug() {
    let folder = Folder::new();
    let (tls, reload) = Reload::open(&folder.files()).expect("valid files");
    let shown = format!("{reload:?}");
    assert!(shown.ends_with(".. }"), "{shown}");
    assert_eq!(format!("{tls:?}"), "Tls(..)");
}
