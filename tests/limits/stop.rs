//! Signals, and starts that cannot be.

use std::os::unix::process::ExitStatusExt;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::{FETCH, append, batch_of, connect, create, fetch, start_command};
use crate::harness::{Connection, Thalweg, message, scratch};
use crate::turn;

/// What a stop that waits for nobody stays below: clients that do not read are given five seconds.
const AT_ONCE: Duration = Duration::from_millis(4_500);

#[test]
fn a_signal_answers_fetches_that_wait_and_stops() {
    let _turn = turn();
    for signal in [Signal::TERM, Signal::INT] {
        // A busy machine may take long once.
        let is_quick = (0..3).any(|_| stops_under_long_polls(signal) < AT_ONCE);
        assert!(is_quick, "each of three stops took longer than {AT_ONCE:?}");
    }
}

/// Stops a broker while a hundred fetches wait in it, which it has to answer; how long that took.
fn stops_under_long_polls(signal: Signal) -> Duration {
    let directory = scratch("limits-stop");
    let mut broker = Thalweg::start(&directory, &[]);
    create(&mut connect(&broker), "t", 4, &[]);
    let api = message("Fetch");
    let mut waiting: Vec<(Connection, i32)> = (0..100)
        .map(|i| {
            let mut connection = connect(&broker);
            let correlation = connection.send(api, FETCH, &fetch("t", &[i % 4], 60_000));
            (connection, correlation.expect("it is sent"))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    broker.signal(signal);
    let answers = waiting.iter_mut().map(|(connection, id)| connection.answer(api, FETCH, *id));
    answers.for_each(|answer| assert_eq!(answer.body()["errorCode"], 0));
    let status = broker.wait();
    let took = began.elapsed();
    println!("stopped {took:?} after {signal:?} with {} long polls", waiting.len());
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(broker.data().join(".kafka_cleanshutdown").exists());
    took
}

/// A connection whose answer of megabytes is not read.
fn stuck(broker: &Thalweg) -> Connection {
    let mut connection = connect(broker);
    create(&mut connection, "large", 1, &[]);
    for _ in 0..40 {
        append(&mut connection, "large", 0, &batch_of(900_000));
    }
    connection.send(message("Fetch"), FETCH, &fetch("large", &[0], 0)).expect("it is sent");
    connection.stream.peek(&mut [0]).expect("the answer begins");
    connection
}

#[test]
fn a_client_that_does_not_read_does_not_hold_up_the_stop() {
    let _turn = turn();
    let directory = scratch("limits-stuck");
    let mut broker = Thalweg::start(&directory, &[]);
    let _connection = stuck(&broker);
    let began = Instant::now();
    let status = broker.stop();
    println!("stopped {:?} after the signal with a client that does not read", began.elapsed());
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(broker.data().join(".kafka_cleanshutdown").exists());
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let _turn = turn();
    let directory = scratch("limits-second-signal");
    let mut broker = Thalweg::start(&directory, &[]);
    let _connection = stuck(&broker);
    broker.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(500));
    assert!(broker.is_alive(), "it waits for the client to read");
    let began = Instant::now();
    broker.signal(Signal::TERM);
    let status = broker.wait();
    // The client would have been waited for until 4.5 s from here.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(status.code().or(status.signal().map(|s| 128 + s)), Some(143), "{status}");
    assert!(!broker.data().join(".kafka_cleanshutdown").exists());
}

/// Runs a start that must fail by itself.
fn refused(options: &[String]) -> Output {
    let mut command = start_command(options);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the binary runs");
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait().expect("a child can be asked").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it runs: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("its output")
}

/// One line says what is wrong, and how to mend it; warnings about the host may stand before it.
fn one_error_line(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<_> = text.lines().filter(|line| !line.contains(r#""level":"WARN""#)).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].starts_with("error: "), "{text}");
    lines[0].to_owned()
}

#[test]
fn a_port_in_use_is_one_line() {
    let _turn = turn();
    let directory = scratch("limits-port");
    let broker = Thalweg::start(&directory, &[]);
    let address = broker.address.to_string();
    let output = refused(&[
        format!("listeners=PLAINTEXT://{address}"),
        format!("log.dirs={}", directory.join("other").display()),
    ]);
    let line = one_error_line(&output);
    assert!(line.contains(&address) && line.contains("in use") && line.contains("-o listeners="), "{line}");
    // The first broker is not disturbed.
    assert!(crate::client::answers(&mut connect(&broker)));
}

#[test]
fn a_locked_directory_is_one_line() {
    let _turn = turn();
    let directory = scratch("limits-locked");
    let broker = Thalweg::start(&directory, &[]);
    let data = broker.data().display().to_string();
    let output = refused(&["listeners=PLAINTEXT://127.0.0.1:0".into(), format!("log.dirs={data}")]);
    let line = one_error_line(&output);
    assert!(line.contains(&data) && line.contains("in use") && line.contains("-o log.dirs="), "{line}");
    assert!(crate::client::answers(&mut connect(&broker)));
}
