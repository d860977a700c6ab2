//! What other hands write among the instances.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, DeleteOptions, GetOptions};
use tokio::time::interval;

use super::Bite;
use super::links::Background;
use super::site::{Deployment, Site};
use super::struck::Struck;
use crate::experiment::Trouble;

/// How many are written at once, and how often; not for ever.
const BURST: usize = 20;
const EVERY: Duration = Duration::from_millis(100);
const MOST: usize = 2_000;
/// What nobody can read.
const RUBBISH: [&[u8]; 5] = [b"\xff\xfe", b"rubbish", b"{}", br#"{"schema":99}"#, &[b'x'; 1024]];
/// By which what was written is found again.
const NAME: &str = "flood-";

/// Floods all services that are there for `lasting`.
pub(super) async fn flood(site: &Arc<Site>, lasting: Duration) -> Result<Struck, Trouble> {
    let site = Arc::clone(site);
    let places = places(&site).await?;
    for place in &places {
        write(&site, place, 0).await?;
    }
    let (tell, told) = tokio::sync::watch::channel(places.len());
    let what = format!("rubbish among the instances of {} services", places.len());
    let flooding = Background::spawn(lasting, {
        let (site, places) = (Arc::clone(&site), places.clone());
        async move {
            let mut ticks = interval(EVERY);
            for burst in 0..MOST / BURST {
                ticks.tick().await;
                for number in 1..=BURST {
                    for place in &places {
                        if write(&site, place, burst * BURST + number).await.is_ok() {
                            tell.send_modify(|written| *written += 1);
                        }
                    }
                }
            }
        }
    });
    Ok(Struck::new(what, async move {
        flooding.stop().await;
        let written = *told.borrow();
        let mut there = 0;
        for place in &places {
            there += usize::from(is_there(&site, place).await?);
            remove(&site, place).await?;
        }
        let proof = format!(
            "{written} entries were written, and the first of {there} of {} services was read back",
            places.len()
        );
        Ok(Bite::new(!places.is_empty() && there == places.len(), proof))
    }))
}

async fn client(site: &Site) -> Result<Option<Client>, Trouble> {
    let endpoints = match &site.deployment {
        Deployment::Etcd(etcd) => vec![etcd.direct_endpoint()],
        Deployment::EtcdCluster(cluster) => {
            cluster.members().iter().map(|member| member.direct_endpoint()).collect()
        }
        _ => return Ok(None),
    };
    Ok(Some(Client::connect(endpoints, None).await?))
}

/// Where the instances of each service lie: a prefix in etcd, a hash in Redis.
async fn places(site: &Site) -> Result<Vec<String>, Trouble> {
    if let Some(mut client) = client(site).await? {
        let options = GetOptions::new().with_prefix().with_keys_only();
        let found = client.get("/registry/", Some(options)).await?;
        let keys = found.kvs().iter().filter_map(|entry| entry.key_str().ok());
        // `/registry/service/id`
        let services = keys.filter_map(|key| key.split('/').nth(2).filter(|_| key.matches('/').count() > 2));
        let mut places: Vec<_> = services.map(|service| format!("/registry/{service}/")).collect();
        places.dedup();
        return Ok(places);
    }
    let pattern = if site.is_naive() { "*" } else { "registry:*:instances" };
    let mut places = Vec::new();
    for key in site.redis_keys(pattern).await? {
        if site.redis_command(&key, &["TYPE", &key]).await?.text() == "hash" {
            places.push(key);
        }
    }
    Ok(places)
}

async fn write(site: &Site, place: &str, number: usize) -> Result<(), Trouble> {
    let (name, rubbish) = (format!("{NAME}{number}"), RUBBISH[number % RUBBISH.len()]);
    let key = format!("{place}{name}");
    match &site.deployment {
        Deployment::Etcd(etcd) => drop(etcd.put(key, rubbish).await?),
        Deployment::EtcdCluster(cluster) => drop(cluster.member(0).put(key, rubbish).await?),
        _ => {
            let words = [&b"HSET"[..], place.as_bytes(), name.as_bytes(), rubbish];
            site.redis_command(place, &words).await?;
        }
    }
    Ok(())
}

async fn is_there(site: &Site, place: &str) -> Result<bool, Trouble> {
    let name = format!("{NAME}0");
    match client(site).await? {
        Some(mut client) => Ok(client.get(format!("{place}{name}"), None).await?.count() > 0),
        None => {
            let found = site.redis_command(place, &["HGET", place, &name]).await?;
            Ok(found != registry_testing::servers::redis::Reply::Nil)
        }
    }
}

async fn remove(site: &Site, place: &str) -> Result<(), Trouble> {
    if let Some(mut client) = client(site).await? {
        let options = DeleteOptions::new().with_prefix();
        client.delete(format!("{place}{NAME}"), Some(options)).await?;
        return Ok(());
    }
    let fields = site.redis_command(place, &["HKEYS", place]).await?;
    let ours = fields.list().iter().map(|field| field.text()).filter(|field| field.starts_with(NAME));
    let ours: Vec<String> = ours.collect();
    if !ours.is_empty() {
        let words: Vec<&str> = ["HDEL", place].into_iter().chain(ours.iter().map(String::as_str)).collect();
        site.redis_command(place, &words).await?;
    }
    Ok(())
}
