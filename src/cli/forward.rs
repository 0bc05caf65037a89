//! `wayleave forward`: a TCP route as a port of this machine, or as standard input and output.
//!
//! Each connection of a program becomes a tunnel of its own, all of them over one connection to the edge. The listener takes whoever can reach it for
//! the person who is signed in, so it is on a loopback address unless another is asked for.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::rc::Rc;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{LocalSet, spawn_local};
use url::Url;

use crate::cli::client::complain;
use crate::cli::person::caller::Caller;
use crate::cli::person::fault::Fault;
use crate::cli::person::home::Home;
use crate::cli::person::home::tunnel::{NoTunnel, Program, Received, Tunnels};
use crate::cli::person::program::ProgramArguments;
use crate::cli::person::token_cache::Route;
use crate::cli::person::{Output, PersonArguments, wait};
use crate::token::dpop::prover::Prover;

/// Reach a TCP route by a port on this machine.
#[derive(Debug, clap::Args)]
pub struct ForwardArguments {
    /// The route's name, as `wayleave routes` has it.
    route: String,
    /// The port on this machine; left out, any that is free.
    #[arg(default_value_t = 0)]
    port: u16,
    /// The address to listen at. Whoever can reach it is taken for you.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    listen: IpAddr,
    /// Carry one connection over standard input and output, as in `ssh -o ProxyCommand='wayleave forward bastion --stdio'`.
    #[arg(long, conflicts_with_all = ["port", "listen"])]
    stdio: bool,
    /// Speak HTTP/1.1 with the edge, a connection for each tunnel, where something between speaks no HTTP/2.
    #[arg(long)]
    http1: bool,
    #[command(flatten)]
    person: PersonArguments,
    #[command(flatten)]
    program: ProgramArguments,
}

/// Forwards until Ctrl-C, or until the one connection has ended.
pub fn run(arguments: &ForwardArguments) -> ExitCode {
    arguments.person.end(wait(async {
        let way = Way::find(arguments).await?;
        let local = LocalSet::new();
        if arguments.stdio {
            local.run_until(stdio(&way, arguments.person.output)).await
        } else {
            local.run_until(listen(Rc::new(way), arguments)).await
        }
    }))
}

/// The way to a route, and the right to use it.
struct Way {
    access: Caller,
    home: Home,
    route: Route,
    tunnels: Tunnels,
    /// One at a time looks after tokens: files are locked for it.
    getting_token: Mutex<()>,
}

impl Way {
    async fn find(arguments: &ForwardArguments) -> Result<Self, Fault> {
        let access = Caller::open(&arguments.person, &arguments.program)?;
        let home = Home::new(access.profile())?;
        // Asked anew, so that whoever may not is told before anything connects.
        let name = &arguments.route;
        if let Caller::Person(access) = &access {
            access.routes(&home, true).await?;
        }
        let route = access.route(&home, name, true).await?;
        if route.protocol.as_deref() == Some("http") {
            let next = format!("wayleave curl {name}/, or open {}", route.url);
            return Err(Fault::usage(format!("{name} speaks HTTP and is no TCP route")).next(next));
        }
        if let Some(why) = route.why_not.as_ref().filter(|_| !route.open) {
            let next = format!(
                "wayleave request {name} -X POST -m WHY asks for access, where somebody may give it"
            );
            return Err(Fault::denied(format!("you may not open {name}: {why}")).next(next));
        }
        let url = Url::parse(&route.url);
        let url = url.map_err(|_| Fault::failed(format!("{} is no URL", route.url)))?;
        let tunnels = Tunnels::new(access.profile(), url, arguments.http1)?;
        Ok(Self {
            access,
            home,
            route,
            tunnels,
            getting_token: Mutex::new(()),
        })
    }

    /// A workload's own policy says no by hanging up.
    fn silent(&self) -> String {
        format!(
            "{} hung up without a word: its own mesh policy may not let your mesh identity in",
            self.route.name
        )
    }

    async fn token(&self) -> Result<(String, Prover), Fault> {
        let _alone = self.getting_token.lock().await;
        let token = self
            .access
            .route_token(&self.home, &self.route, true)
            .await?;
        let own = Url::parse(&self.route.url).map(|url| url.origin().ascii_serialization());
        if own.as_deref() != Ok(token.resource.as_str()) {
            return Err(Fault::failed(
                "the edge gave a token for another host than the route's",
            ));
        }
        Ok((token.token, self.access.key()?))
    }

    /// Joins a program to the route until both have ended.
    async fn carry<R, W>(&self, program: Program<R, W>) -> Result<Result<Received, String>, Fault>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin,
    {
        let mut program = Some(program);
        for is_last in [false, true] {
            let (token, key) = self.token().await?;
            match self.tunnels.carry(&key, &token, &mut program).await {
                Ok(ended) => return Ok(ended),
                Err(NoTunnel::NotSignedIn(_)) if !is_last => {
                    let _alone = self.getting_token.lock().await;
                    self.access.forget_tokens()?;
                }
                Err(NoTunnel::NotSignedIn(why)) => {
                    let fault = Fault::not_signed_in(why);
                    return Err(match self.access {
                        Caller::Person(_) => fault.next("wayleave login"),
                        Caller::Program(_) => fault,
                    });
                }
                Err(NoTunnel::Fault(fault)) => return Err(fault),
            }
        }
        Err(Fault::failed("there is no tunnel"))
    }
}

async fn stdio(way: &Way, output: Output) -> Result<ExitCode, Fault> {
    let program = Program {
        reader: tokio::io::stdin(),
        writer: tokio::io::stdout(),
    };
    let ended = way.carry(program).await?;
    let received = ended.map_err(|why| {
        Fault::unreachable(format!("the connection to {} ended: {why}", way.route.name))
    })?;
    if received == 0 {
        say(output, &way.silent());
    }
    Ok(ExitCode::SUCCESS)
}

async fn listen(way: Rc<Way>, arguments: &ForwardArguments) -> Result<ExitCode, Fault> {
    let address = (arguments.listen, arguments.port);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let (ip, port) = address;
        Fault::failed(format!("{ip} port {port} cannot be had: {error}"))
            .next("give another port, or none for any that is free")
    })?;
    let failed = |error: std::io::Error| Fault::failed(error.to_string());
    let bound = listener.local_addr().map_err(failed)?;
    match arguments.person.output {
        Output::Text => {
            let name = &way.route.name;
            anstream::println!("{bound} leads to {name}. Ctrl-C ends it.");
            if !bound.ip().is_loopback() {
                complain("whoever can reach this address is taken for you");
            }
        }
        Output::Json => anstream::println!("{}", json!({ "listening": bound.to_string() })),
    }
    let output = arguments.person.output;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A failed accept concerns that connection only.
                if let Ok((stream, _)) = accepted {
                    spawn_local(connection(Rc::clone(&way), stream, output));
                }
            }
            _ = &mut interrupted => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// One connection of a program. One that did not end well is reset, so that the program does not take it for an end.
async fn connection(way: Rc<Way>, stream: TcpStream, output: Output) {
    let _kept_small = stream.set_nodelay(true);
    // A second handle, since the first is taken apart.
    let Ok(stream) = stream.into_std() else {
        return;
    };
    let (Ok(resets), Ok(stream)) = (stream.try_clone(), TcpStream::from_std(stream)) else {
        return;
    };
    let (reader, writer) = tokio::io::split(stream);
    match way.carry(Program { reader, writer }).await {
        Ok(Ok(0)) => return say(output, &way.silent()),
        Ok(Ok(_)) => return,
        Ok(Err(why)) => say(
            output,
            &format!("a connection to {} ended: {why}", way.route.name),
        ),
        Err(fault) => {
            fault.tell(output);
        }
    }
    reset(&resets);
}

fn reset(stream: &std::net::TcpStream) {
    // What is closed with no time to linger is reset.
    let _reset = rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO));
}

fn say(output: Output, what: &str) {
    match output {
        Output::Text => complain(what),
        Output::Json => anstream::eprintln!("{}", json!({ "error": "ended", "message": what })),
    }
}
