use std::net::Ipv4Addr;

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, ServerName},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream, UnixStream},
    sync::oneshot,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;

use super::*;
use crate::socket::off_this_runtime;

const PATIENCE: Duration = Duration::from_mins(1);

/// A certificate that knows on which threads it was asked for.
#[derive(Debug)]
struct Certificate {
    key: Arc<CertifiedKey>,
    asked_on: Mutex<Vec<String>>,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let thread = thread::current().name().unwrap_or_default().to_owned();
        self.asked_on.lock().expect("no panic").push(thread);
        Some(Arc::clone(&self.key))
    }
}

struct Stage {
    certificate: Arc<Certificate>,
    client: TlsConnector,
    handshakes: Handshakes,
    listener: TcpListener,
    tasks: Tasks,
}

impl Stage {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("signed");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("a root");
        let client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let key = rustls::crypto::ring::sign::any_supported_type(&key).expect("a key");
        let certificate = Arc::new(Certificate {
            key: Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)),
            asked_on: Mutex::default(),
        });
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as _);
        let tasks = Tasks::default();
        let handshakes = Handshakes::start(
            &Tls::new(server),
            NonZeroUsize::MIN,
            PATIENCE,
            &CancellationToken::new(),
            &tasks,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await;
        Self {
            certificate,
            client: TlsConnector::from(Arc::new(client)),
            handshakes: handshakes.expect("a thread"),
            listener: listener.expect("a port"),
            tasks,
        }
    }

    /// A connection from `address`, which has entered, and what becomes of it.
    async fn connect(&mut self, address: Ipv4Addr) -> (TcpStream, oneshot::Receiver<Shaken>) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((address, 0).into()).expect("of this machine");
        let to = self.listener.local_addr().expect("bound");
        let (near, far) = tokio::join!(socket.connect(to), self.listener.accept());
        let shaken = self.enter(Either::Left(far.expect("accepted").0));
        (near.expect("connected"), shaken)
    }

    fn enter(&mut self, stream: crate::socket::Stream) -> oneshot::Receiver<Shaken> {
        let (done, shaken) = oneshot::channel();
        let onward: Onward = Box::new(|stream, _| {
            let _ = done.send(stream);
        });
        let stream = off_this_runtime(stream).expect("open");
        let address = CallerKey::of(&stream).expect("open");
        assert!(self.handshakes.enter(stream, address, onward));
        shaken
    }
}

/// Words go both ways on a connection that has shaken hands there and is served here.
async fn converse<IO>(client: &TlsConnector, near: IO, shaken: oneshot::Receiver<Shaken>)
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let name = ServerName::try_from("localhost").expect("a name");
    let both = async { tokio::join!(client.connect(name, near), shaken) };
    let (near, far) = timeout(PATIENCE, both).await.expect("in time");
    let (mut near, mut far) = (near.expect("shaken"), far.expect("shaken"));
    let early = far.read_u8().await.expect_err("of no runtime yet");
    assert_eq!(early.kind(), io::ErrorKind::NotConnected);
    far.get_mut().0.arrive().expect("registered");
    for word in [b"ping", b"pong"] {
        near.write_all(word).await.expect("open");
        let mut heard = [0; 4];
        far.read_exact(&mut heard).await.expect("open");
        assert_eq!(&heard, word);
        far.write_all(word).await.expect("open");
        far.flush().await.expect("open");
        near.read_exact(&mut heard).await.expect("open");
        assert_eq!(&heard, word);
    }
}

/// Each handshake was done on the thread of a worker, and held up its checks.
#[tokio::test]
async fn handshakes_are_done_on_a_thread_of_their_own() {
    let mut stage = Stage::start().await;
    let client = stage.client.clone();
    let (near, shaken) = stage.connect(Ipv4Addr::LOCALHOST).await;
    converse(&client, near, shaken).await;
    let (near, far) = UnixStream::pair().expect("a pair");
    let shaken = stage.enter(Either::Right(far));
    converse(&client, near, shaken).await;
    let asked_on = stage.certificate.asked_on.lock().expect("no panic").clone();
    assert_eq!(asked_on, ["handshakes-0", "handshakes-0"]);
    assert_eq!(stage.tasks.restarts(), [("handshakes", 0)]);
}

/// One address holds as many places as it may, and more of its connections wait.
#[tokio::test]
async fn silent_connections_of_one_address_keep_no_other_waiting() {
    let mut stage = Stage::start().await;
    let client = stage.client.clone();
    let mut silent = Vec::new();
    for _ in 0..2 * MOST_OF_ADDRESS {
        silent.push(stage.connect(Ipv4Addr::LOCALHOST).await);
    }
    let (near, shaken) = stage.connect(Ipv4Addr::new(127, 0, 0, 2)).await;
    converse(&client, near, shaken).await;
    for (_, shaken) in &mut silent {
        assert!(shaken.try_recv().is_err(), "nothing was said");
    }
    // When they go, others of the address have their turn.
    let (near, shaken) = stage.connect(Ipv4Addr::LOCALHOST).await;
    drop(silent);
    converse(&client, near, shaken).await;
}

#[tokio::test]
async fn places_have_bounds_and_the_last_of_an_address_leaves_nothing() {
    let lobby = Arc::new(Lobby::new(3, 2));
    let of = |last| CallerKey::of_ip([192, 0, 2, last].into());
    let enter = async |last| timeout(Duration::ZERO, lobby.enter(of(last))).await;
    let first = enter(1).await.expect("room").expect("open");
    let second = enter(1).await.expect("room").expect("open");
    assert!(enter(1).await.is_err(), "two of one address");
    let third = enter(2).await.expect("room").expect("open");
    assert!(enter(3).await.is_err(), "three in all");
    drop(first);
    let fourth = enter(3).await.expect("room").expect("open");
    drop((second, third, fourth));
    assert!(lobby.addresses().is_empty());
}
