use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use balcony_event_log::testing::eventually;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::log_under_test::say;
use crate::reading::PATIENCE;

/// A broker that a test may kill: nobody else uses it. It dies with the test.
pub(crate) struct PrivateBroker {
    directory: TempDir,
    class_path: String,
    port: u16,
    /// Where it is reached first, whatever its own address is.
    bootstrap_port: u16,
    controller_port: u16,
    process: Child,
}

impl PrivateBroker {
    /// Starts a broker from the jars in `$BALCONY_KAFKA_HOME/libs`; `None` when the variable is not set.
    pub(crate) async fn start() -> Option<Self> {
        let Some(home) = std::env::var_os("BALCONY_KAFKA_HOME").map(PathBuf::from) else {
            say("left out: a Kafka broker that dies, because BALCONY_KAFKA_HOME is not set");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory for the broker");
        let class_path = home.join("libs/*").display().to_string();
        let (port, bootstrap_port, controller_port) = (free_port(), free_port(), free_port());
        let ports = [port, bootstrap_port, controller_port];
        std::fs::write(properties(&directory), settings(directory.path(), ports)).expect("the settings can be written");
        let formatted = java(&class_path)
            .args(["kafka.tools.StorageTool", "format", "--cluster-id", "cHJpdmF0ZWJyb2tlcjEyMw", "--config"])
            .arg(properties(&directory))
            .status()
            .expect("java can be started");
        assert!(formatted.success(), "the broker's storage can be formatted");
        let process = run(&class_path, &directory);
        let broker = Self { directory, class_path, port, bootstrap_port, controller_port, process };
        broker.wait_until_it_listens().await;
        Some(broker)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where clients find it that then learn its own address.
    pub(crate) fn bootstrap_address(&self) -> String {
        format!("127.0.0.1:{}", self.bootstrap_port)
    }

    /// Lets it have another address of its own when it is started again.
    pub(crate) fn move_away(&mut self) {
        self.port = free_port();
        let ports = [self.port, self.bootstrap_port, self.controller_port];
        std::fs::write(properties(&self.directory), settings(self.directory.path(), ports))
            .expect("the settings can be written");
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("the broker runs");
        self.process.wait().expect("the broker ends");
    }

    pub(crate) async fn restart(&mut self) {
        self.process = run(&self.class_path, &self.directory);
        self.wait_until_it_listens().await;
    }

    async fn wait_until_it_listens(&self) {
        eventually("the broker listens", PATIENCE, async || TcpStream::connect(self.address()).await.ok()).await;
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn properties(directory: &TempDir) -> PathBuf {
    directory.path().join("server.properties")
}

fn settings(directory: &Path, [port, bootstrap_port, controller_port]: [u16; 3]) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},BOOTSTRAP://127.0.0.1:{bootstrap_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},BOOTSTRAP://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,BOOTSTRAP:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
",
        directory.join("data").display()
    )
}

fn java(class_path: &str) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-cp", class_path]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    java
}

fn run(class_path: &str, directory: &TempDir) -> Child {
    java(class_path).arg("kafka.Kafka").arg(properties(directory)).spawn().expect("java can be started")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}
