//! `slipstreamd`: see [`slipstream_daemon::daemon_main`].

fn main() {
    std::process::exit(slipstream_daemon::daemon_main(std::env::args().skip(1).collect()));
}
