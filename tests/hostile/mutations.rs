//! Requests that schemas allow, then changed at random: a bit, a byte, a cut, a piece twice, a huge number.
//! The broker answers with something that its schema reads, or closes; it never dies.

use std::time::Duration;

use serde_json::json;

use crate::harness::schema::{self, Api, message};
use crate::harness::{Answer, Connection, Random};
use crate::scene::{MIB, Scene, make_topic};

/// What would end the broker by right, or is a quorum's own affair.
const LEFT_OUT: [&str; 1] = ["ControlledShutdown"];

fn count(default: usize) -> usize {
    std::env::var("HOSTILE_COUNT").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn any_request(random: &mut Random) -> (&'static Api, i16, Vec<u8>) {
    let names = schema::names();
    loop {
        let name = names[random.below(names.len())];
        let api = message(name);
        let stable = api.stable();
        if LEFT_OUT.contains(&name) || stable.max < stable.min {
            continue;
        }
        let version = stable.min + random.below((stable.max - stable.min + 1) as usize) as i16;
        let body = api.request.encode(version, &api.request.random(version, random));
        return (api, version, body);
    }
}

fn mutate(body: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(body.len() + 1).min(body.len().saturating_sub(1));
        if body.is_empty() {
            body.push(random.number() as u8);
            continue;
        }
        match random.below(7) {
            0 => body[at] ^= 1 << random.below(8),
            1 => body[at] = random.number() as u8,
            2 => body.truncate(at),
            3 => {
                let piece = body[at..(at + random.below(20)).min(body.len())].to_vec();
                let to = random.below(body.len());
                body.splice(to..to, piece);
            }
            4 => {
                let end = (at + 4).min(body.len());
                let number = [i32::MAX, i32::MIN, -1, 1 << 24][random.below(4)];
                body.splice(at..end, number.to_be_bytes());
            }
            5 => {
                body.splice(at..at + 1, [0xff; 10]);
            }
            _ => {
                body.drain(at..(at + random.below(8)).min(body.len()));
            }
        }
    }
}

/// Sends one request; `strict` wants an answer that the schema reads, or an end of the connection.
fn play(
    connection: &mut Option<Connection>,
    scene: &Scene,
    api: &Api,
    version: i16,
    body: &[u8],
    strict: bool,
) {
    let open = connection.get_or_insert_with(|| scene.connect());
    open.stream
        .set_read_timeout(Some(Duration::from_millis(if strict { 5000 } else { 60 })))
        .expect("a timeout");
    let answer = match open.send_body(api, version, body) {
        Ok(correlation) => open.answer(api, version, correlation),
        Err(_) => Answer::Closed,
    };
    match answer {
        Answer::Body(_) => return,
        // acks=0 has no answer; nor has a number that became a time to wait.
        Answer::Silence if !strict || api.request.name == "Produce" => {}
        Answer::Closed => {}
        other if strict => panic!("{} v{version} {}: {other:?}", api.request.name, schema::hex(body)),
        _ => {}
    }
    *connection = None;
}

#[test]
fn well_formed_requests_of_any_kind_are_answered_in_their_schema() {
    let scene = Scene::new("well-formed", &["connections.max.idle.ms=20000"]);
    make_topic(scene.broker.address, "t", 2, &[]);
    let (mut random, seed) = Random::from_env("HOSTILE_SEED");
    println!("HOSTILE_SEED={seed}");
    let mut connection = None;
    for _ in 0..count(2_000) {
        let (api, version, body) = any_request(&mut random);
        if api.request.name == "Produce" && body.windows(2).take(8).any(|w| w == [0, 0]) {
            // Perhaps acks=0: a judge of its own waits for what has no answer.
            continue;
        }
        play(&mut connection, &scene, api, version, &body, true);
    }
    let mut fresh = scene.connect();
    fresh.call("Metadata", 1, &json!({"topics": null})).body();
    scene.calm(96 * MIB);
}

#[test]
fn requests_changed_at_random_do_no_harm() {
    let scene = Scene::new("mutations", &["connections.max.idle.ms=20000"]);
    make_topic(scene.broker.address, "t", 2, &[]);
    let (mut random, seed) = Random::from_env("HOSTILE_SEED");
    println!("HOSTILE_SEED={seed}");
    let mut connection = None;
    for _ in 0..count(4_000) {
        let (api, version, mut body) = any_request(&mut random);
        mutate(&mut body, &mut random);
        play(&mut connection, &scene, api, version, &body, false);
    }
    scene.calm(96 * MIB);
}
