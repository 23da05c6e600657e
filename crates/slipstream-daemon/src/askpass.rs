//! Secrets for ssh: ssh runs the helper, the helper asks the daemon.

use crate::{BUILD, locks::lock};
use slipstream_wire::{Frame, HEADER_LEN, Header, Limits, Reply, Request};
use std::{
    collections::HashMap,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::{Arc, Mutex},
};
use zeroize::Zeroizing;

/// Names the helper's daemon and attempt as `SOCKET:NONCE`; its presence makes the program a helper.
pub(crate) const ENVIRONMENT: &str = "SLIPSTREAM_ASKPASS";

/// A secret in memory that is wiped when dropped.
pub(crate) type Secret = Zeroizing<Vec<u8>>;

/// What one ssh process may ask for.
struct Attempt {
    secret: Secret,
    prompt: String,
    once: bool,
    asked: u32,
    /// Runs when the secret is asked for a second time: the first answer was wrong.
    on_denied: Arc<tokio::sync::Notify>,
}

/// The secrets that running ssh processes may ask for, by nonce.
#[derive(Default)]
pub(crate) struct Askpass(Mutex<HashMap<String, Attempt>>);

impl Askpass {
    /// Lets processes that know the returned nonce ask for `secret`; only once if `once` is set.
    pub(crate) fn offer(self: &Arc<Self>, secret: Secret, prompt: String, once: bool) -> Offer {
        let nonce = random_hex();
        let on_denied = Arc::new(tokio::sync::Notify::new());
        let attempt = Attempt { secret, prompt, once, asked: 0, on_denied: Arc::clone(&on_denied) };
        lock(&self.0).insert(nonce.clone(), attempt);
        Offer { askpass: Arc::clone(self), nonce, on_denied }
    }

    /// Answers a helper, or not: another question than expected, or the same one again.
    pub(crate) fn answer(&self, nonce: &str, prompt: &str) -> Option<Secret> {
        let mut attempts = lock(&self.0);
        let attempt = attempts.get_mut(nonce)?;
        if !prompt.contains(&attempt.prompt) {
            return None;
        }
        attempt.asked += 1;
        if attempt.once && attempt.asked > 1 {
            attempt.on_denied.notify_one();
            return None;
        }
        Some(attempt.secret.clone())
    }
}

/// A secret on offer; dropping it withdraws it.
pub(crate) struct Offer {
    askpass: Arc<Askpass>,
    pub(crate) nonce: String,
    /// Signalled when ssh asks again, so the answer was wrong.
    pub(crate) on_denied: Arc<tokio::sync::Notify>,
}

impl Offer {
    /// The secret has proved right: more logins of the same link may ask for it.
    pub(crate) fn proved_right(&self) {
        let mut attempts = lock(&self.askpass.0);
        if let Some(attempt) = attempts.get_mut(&self.nonce) {
            attempt.once = false;
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        lock(&self.askpass.0).remove(&self.nonce);
    }
}

/// Returns 128 random bits from the system as text.
pub(crate) fn random_hex() -> String {
    let mut bytes = [0_u8; 16];
    let got = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes));
    if got.is_err() {
        // No nonce must ever be guessable: without randomness there is none.
        std::process::abort();
    }
    slipstream_wire::Digest::from_bytes(&bytes).as_str().to_owned()
}

/// The helper: prints the secret for `prompt`, or ends with 1.
pub(crate) fn main(address: &str, prompt: &str) -> i32 {
    match ask(address, prompt) {
        Some(secret) => {
            let mut out = std::io::stdout();
            i32::from(out.write_all(&secret).and_then(|()| out.write_all(b"\n")).is_err())
        }
        None => 1,
    }
}

fn ask(address: &str, prompt: &str) -> Option<Secret> {
    let (socket, nonce) = address.rsplit_once(':')?;
    let mut stream = UnixStream::connect(Path::new(socket)).ok()?;
    exchange(&mut stream, &Request::Hello { version: BUILD.into() })?;
    let request = Request::Askpass { nonce: nonce.into(), prompt: prompt.into() };
    let reply = exchange(&mut stream, &request)?;
    match reply.parse() {
        Ok(Reply::Secret) => Some(Zeroizing::new(reply.body)),
        _ => None,
    }
}

fn exchange(stream: &mut UnixStream, request: &Request) -> Option<Frame> {
    stream.write_all(&Frame::message(0, request, vec![]).encode()).ok()?;
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).ok()?;
    let header = Header::decode(&header, Limits::AGENT).ok()?;
    let mut control = vec![0; header.control as usize];
    stream.read_exact(&mut control).ok()?;
    let mut body = vec![0; header.body as usize];
    stream.read_exact(&mut body).ok()?;
    Some(Frame::assemble(header, control, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered() -> (Arc<Askpass>, Offer) {
        let askpass = Arc::new(Askpass::default());
        let offer = askpass.offer(Zeroizing::new(b"pw".to_vec()), "assword".into(), true);
        (askpass, offer)
    }

    #[test]
    fn a_secret_is_given_once() {
        let (askpass, offer) = offered();
        assert_eq!(askpass.answer(&offer.nonce, "Password: ").as_deref(), Some(&b"pw".to_vec()));
        assert_eq!(askpass.answer(&offer.nonce, "Password: "), None);
    }

    #[test]
    fn other_questions_and_other_nonces_get_nothing() {
        let (askpass, offer) = offered();
        assert_eq!(askpass.answer(&offer.nonce, "continue connecting (yes/no)?"), None);
        assert_eq!(askpass.answer("guess", "Password: "), None);
    }

    #[test]
    fn a_secret_that_proved_right_is_given_again() {
        let (askpass, offer) = offered();
        assert!(askpass.answer(&offer.nonce, "Password: ").is_some());
        offer.proved_right();
        assert!(askpass.answer(&offer.nonce, "Password: ").is_some());
    }

    #[test]
    fn a_withdrawn_secret_is_gone() {
        let (askpass, offer) = offered();
        let nonce = offer.nonce.clone();
        drop(offer);
        assert_eq!(askpass.answer(&nonce, "Password: "), None);
    }
}
