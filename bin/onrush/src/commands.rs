//! One file for each verb, or for a few that belong together.

mod build;
mod cluster;
mod deploy;
mod dev;
mod functions;
mod invoke;
mod logs;
mod new;
mod routes;
mod serve;
mod start;
mod threads;

use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use crate::{
    args::{Cli, Format, Verb},
    client::{Address, Client},
    failure::Failure,
};

/// What every client verb needs.
pub(crate) struct Caller {
    pub(crate) address: Address,
    pub(crate) format: Format,
    /// As it was asked for; none means the default one, or all.
    pub(crate) namespace: Option<String>,
}

impl Caller {
    async fn connect(&self) -> Result<Client, Failure> {
        self.address.connect().await
    }
}

/// Carries out what was typed.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let caller = Caller { address: Address::of(&cli), format: cli.format(), namespace: cli.global.namespace.clone() };
    match cli.verb {
        Verb::Start(verb) => start::run(*verb),
        Verb::Serve(verb) => serve::run(verb),
        Verb::CompileComponent(verb) => return Ok(serve::compile(verb)),
        Verb::New(verb) => new::run(&verb, caller.format),
        Verb::Build(verb) => build::run(&verb, caller.format),
        Verb::Dev(verb) => on_one_thread()?.block_on(dev::run(verb, caller.format)),
        Verb::Up(verb) => on_one_thread()?.block_on(deploy::up(&caller, &verb)),
        Verb::Deploy(verb) => on_one_thread()?.block_on(deploy::run(&caller, &verb)),
        Verb::Invoke(verb) => on_one_thread()?.block_on(invoke::run(&caller, verb)),
        Verb::List(verb) => on_one_thread()?.block_on(functions::list(&caller, verb.fresh)),
        Verb::Describe(verb) => on_one_thread()?.block_on(functions::describe(&caller, &verb)),
        Verb::Remove(verb) => on_one_thread()?.block_on(functions::remove(&caller, &verb)),
        Verb::Logs(verb) => on_one_thread()?.block_on(logs::run(&caller, &verb)),
        Verb::Route(verb) => on_one_thread()?.block_on(routes::route(&caller, verb)),
        Verb::Filter(verb) => on_one_thread()?.block_on(routes::filter(&caller, verb)),
        Verb::Node(verb) => on_one_thread()?.block_on(cluster::node(&caller, verb)),
        Verb::Cluster(verb) => on_one_thread()?.block_on(cluster::cluster(&caller, verb)),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Enough for a client.
fn on_one_thread() -> Result<Runtime, Failure> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
