//! What is asked of the engine beside what `testcontainers` asks: whether it and an image are there, a SIGKILL, the end of a log, and a removal
//! that happens in every case.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::TryStreamExt;
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error as EngineError;
use testcontainers::bollard::query_parameters::{
    KillContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::core::client::docker_client_instance;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, TestcontainersError};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::ServerError;

/// How many lines of a log are shown.
const TAIL: &str = "40";
/// For the first answer of an engine.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// Removes the container of that name when the end of the pipe comes without a line: then the test process is gone, however it went. The
/// second time is for one that the engine was still making.
const LEASH: &str = r#"exec 3<&0 </dev/null
( read -r ended <&3 || { docker rm -fv "$1"; sleep 1; docker rm -fv "$1"; } ) >/dev/null 2>&1 &"#;

/// For `map_err`: an error of the engine while `doing` something.
pub(super) fn failed<E>(doing: impl Into<String>) -> impl FnOnce(E) -> ServerError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let doing = doing.into();
    move |error| ServerError::io(doing)(std::io::Error::other(error))
}

/// The engine, which answers and has `image`.
pub(super) async fn with_image(image: &str) -> Result<Docker, ServerError> {
    let missing = |why: String| ServerError::Missing {
        program: "a Docker engine".to_owned(),
        hint: format!("start one, or let DOCKER_HOST name it ({why})"),
    };
    let docker = docker_client_instance().await.map_err(|error| missing(error.to_string()))?;
    // What is agreed on here holds for all that `testcontainers` asks as well.
    let docker = match timeout(FIRST_ANSWER, docker.negotiate_version()).await {
        Ok(answer) => answer.map_err(|error| missing(error.to_string()))?,
        Err(late) => return Err(missing(late.to_string())),
    };
    match docker.inspect_image(image).await {
        Ok(_) => Ok(docker),
        Err(EngineError::DockerResponseServerError { status_code: 404, .. }) => Err(ServerError::Missing {
            program: format!("the image {image}"),
            hint: "`make images` builds images of the installed programs; or pull it, or name another one, in REGISTRY_ETCD_IMAGE or \
                   REGISTRY_REDIS_IMAGE or in the options"
                .to_owned(),
        }),
        Err(error) => Err(failed(format!("looking for the image {image}"))(error)),
    }
}

/// SIGKILL.
pub(super) async fn kill(docker: &Docker, id: &str) -> Result<(), EngineError> {
    docker.kill_container(id, Some(KillContainerOptionsBuilder::new().signal("SIGKILL").build())).await
}

/// The last lines that a container printed; whatever goes wrong meanwhile stands there instead.
pub(super) async fn log_tail(docker: &Docker, name: &str) -> String {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(TAIL).build();
    let chunks = docker.logs(name, Some(options)).map_ok(|chunk| chunk.to_string());
    match chunks.try_collect::<String>().await {
        Ok(log) => log.trim_end().to_owned(),
        Err(error) => format!("(no log: {error})"),
    }
}

type Started = Result<ContainerAsync<GenericImage>, TestcontainersError>;

/// A container from before it is made until after it is removed.
///
/// Dropping it removes the container with its data, whatever state it is in, blocking until that is done. When the test process
/// ends without dropping it, and a `docker` is in `PATH`, the container goes as well.
pub(super) struct Removed {
    docker: Docker,
    pub(super) name: String,
    /// Apart from the future that waits for it: a start that is given up halfway has made a container by and by.
    starting: Option<JoinHandle<std::io::Result<Started>>>,
    container: Option<ContainerAsync<GenericImage>>,
    done: bool,
    leash: Option<Child>,
}

impl Removed {
    /// None yet.
    pub(super) fn new(docker: Docker, name: String) -> Self {
        let mut leash = Command::new("sh");
        leash.arg("-c").arg(LEASH).arg("sh").arg(&name);
        let leash = leash.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok();
        Self { docker, name, starting: None, container: None, done: false, leash }
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// None if it could not be started.
    pub(super) fn container(&self) -> Option<&ContainerAsync<GenericImage>> {
        self.container.as_ref()
    }

    /// Makes and starts it, under the name given before.
    pub(super) async fn start(&mut self, request: ContainerRequest<GenericImage>) -> Result<(), ServerError> {
        let (tell, told) = oneshot::channel::<()>();
        self.starting = Some(std::thread::spawn(move || {
            let started = runtime()?.block_on(request.start());
            drop(tell);
            Ok(started)
        }));
        let _ = told.await;
        let started = self.starting.take().map(JoinHandle::join);
        let doing = || format!("starting {}", self.name);
        self.container = match started {
            Some(Ok(started)) => Some(started.map_err(failed(doing()))?.map_err(failed(doing()))?),
            _ => return Err(failed(doing())("the thread that starts it has panicked")),
        };
        Ok(())
    }

    /// Removes it, not blocking.
    pub(super) async fn remove(mut self) -> Result<(), ServerError> {
        if let Some(container) = self.container.take() {
            container.rm().await.map_err(failed(format!("removing {}", self.name)))?;
            self.done = true;
        }
        Ok(())
    }

    fn remove_now(&mut self) {
        let (docker, name) = (self.docker.clone(), self.name.clone());
        let (starting, container) = (self.starting.take(), self.container.take());
        let show_log = std::thread::panicking() && container.is_some();
        let end = async move {
            if show_log {
                print_log(&name, &log_tail(&docker, &name).await);
            }
            let started = || starting?.join().ok()?.ok()?.ok();
            let removed = match container.or_else(started) {
                Some(container) => container.rm().await.is_ok(),
                None => false,
            };
            if !removed {
                let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
                let _ = docker.remove_container(&name, Some(options)).await;
            }
        };
        // In a runtime of its own, since the one around this may be none, or one that cannot wait here.
        if let Ok(runtime) = runtime() {
            let _ = std::thread::spawn(move || runtime.block_on(end)).join();
        }
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl Drop for Removed {
    fn drop(&mut self) {
        if !self.done {
            self.remove_now();
        }
        if let Some(mut leash) = self.leash.take() {
            let _ = leash.stdin.take().map(|mut pipe| pipe.write_all(b"ended\n"));
            let _ = leash.wait();
        }
    }
}

#[allow(clippy::print_stderr, reason = "this is where the log of a failed test is wanted")]
fn print_log(name: &str, log: &str) {
    eprintln!("--- the last lines of the log of {name}:\n{log}\n---");
}
