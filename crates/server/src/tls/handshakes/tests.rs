use std::net::Ipv4Addr;

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, ServerName},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream, UnixStream},
    sync::oneshot::{self, error::TryRecvError},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;

use super::*;
use crate::socket::off_this_runtime;

const PATIENCE: Duration = Duration::from_mins(1);

/// A connection from it makes the thread panic.
const UNLUCKY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 13);

pub(super) fn strike(address: CallerKey) {
    assert_ne!(address, CallerKey::of_ip(UNLUCKY.into()), "bad luck");
}

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

/// The thread ended, and no connection with TLS was taken any more.
#[tokio::test]
async fn a_thread_that_panics_costs_the_handshakes_that_it_has_and_none_of_the_next() {
    let mut stage = Stage::start().await;
    let client = stage.client.clone();
    for panics in 1..=3 {
        let (near, under_way) = stage.connect(Ipv4Addr::LOCALHOST).await;
        let (unlucky, cause) = stage.connect(UNLUCKY).await;
        for lost in [under_way, cause] {
            let lost = timeout(PATIENCE, lost).await.expect("in time");
            assert!(lost.is_err(), "its connection is closed");
        }
        drop((near, unlucky));
        let (near, shaken) = stage.connect(Ipv4Addr::LOCALHOST).await;
        converse(&client, near, shaken).await;
        assert_eq!(stage.tasks.restarts(), [("handshakes", panics)]);
        let fault = stage.tasks.fault().expect("for `/readyz`");
        assert!(fault.contains("`handshakes`"), "{fault}");
    }
}

impl Stage {
    /// A hello as a client says it.
    fn hello(&self) -> Vec<u8> {
        let name = ServerName::try_from("localhost").expect("a name");
        let client = ClientConnection::new(Arc::clone(self.client.config()), name);
        let mut hello = Vec::new();
        let written = client.expect("a client").write_tls(&mut hello);
        assert!(written.expect("room") > 100);
        hello
    }
}

/// 64 silent connections shut out all others of their address, such as gateways behind one NAT.
#[tokio::test]
async fn who_is_waited_for_keeps_nobody_waiting_not_even_of_its_address() {
    let mut stage = Stage::start().await;
    let client = stage.client.clone();
    let hello = stage.hello();
    let (half, _) = hello.split_at(hello.len() / 2);
    let mut waited_for = Vec::new();
    for said in [&[][..], half, &hello] {
        for _ in 0..100 {
            let (mut near, shaken) = stage.connect(Ipv4Addr::LOCALHOST).await;
            near.write_all(said).await.expect("open");
            waited_for.push((near, shaken));
        }
        let (near, shaken) = stage.connect(Ipv4Addr::LOCALHOST).await;
        converse(&client, near, shaken).await;
    }
    for (_, shaken) in &mut waited_for {
        assert_eq!(shaken.try_recv().err(), Some(TryRecvError::Empty));
    }
    // Those that said hello were answered.
    let (near, _) = waited_for.last_mut().expect("some");
    near.read_u8().await.expect("an answer");
}

/// Those that no thread looks at.
#[test]
fn connections_that_wait_for_their_handshake_have_a_bound() {
    let (enter, entering) = mpsc::channel(2);
    let mut handshakes = Handshakes {
        threads: vec![enter],
        next: 0,
        timeout: PATIENCE,
    };
    let mut enter = || {
        let (stream, _) = std::os::unix::net::UnixStream::pair().expect("a pair");
        handshakes.enter(Either::Right(stream), CallerKey::Unix, Box::new(|_, _| {}))
    };
    assert_eq!([enter(), enter(), enter()], [true, true, false]);
    assert_eq!(entering.len(), 2);
}

#[tokio::test]
async fn a_hello_without_end_is_not_kept() {
    let mut stage = Stage::start().await;
    // Of a record of 16,000 bytes each: a ClientHello of 60,000.
    let head = [22, 3, 1, 0x3e, 0x80];
    let hello = [1, 0, 0xea, 0x60].into_iter().chain([0; 15_996]);
    let record: Vec<u8> = head.into_iter().chain(hello).collect();
    let (mut near, shaken) = stage.connect(Ipv4Addr::LOCALHOST).await;
    near.write_all(&record).await.expect("open");
    // It may be closed in the middle.
    let _ = near.write_all(&[&head[..], &[0; 15_995]].concat()).await;
    let refused = timeout(PATIENCE / 2, shaken).await;
    let refused = refused.expect("before its time is over");
    assert!(refused.is_err(), "it is closed");
}

#[tokio::test]
async fn addresses_take_turns_and_the_last_of_one_leaves_nothing() {
    let turns = Arc::new(Turns::new(1));
    let of = |last| CallerKey::of_ip([192, 0, 2, last].into());
    let (went, mut order) = mpsc::unbounded_channel();
    let first = turns.wait(of(1)).await.expect("open");
    let mut waiting = JoinSet::new();
    for address in [1, 1, 1, 1, 2, 2, 3] {
        let (turns, went) = (Arc::clone(&turns), went.clone());
        waiting.spawn(async move {
            let turn = turns.wait(of(address)).await.expect("open");
            went.send(address).expect("open");
            drop(turn);
        });
        // It waits.
        tokio::task::yield_now().await;
    }
    drop(first);
    waiting.join_all().await;
    drop(went);
    let mut all = Vec::new();
    while let Some(address) = order.recv().await {
        all.push(address);
    }
    assert_eq!(all, [2, 3, 1, 2, 1, 1, 1]);
    assert!(turns.addresses().is_empty());
}
