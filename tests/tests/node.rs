//! What the local node does where a real one would be told by its network.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use tokio::net::TcpStream;
use workflow_tests::cluster::Cluster;

/// The last address of `pod_net` in `tests/cluster/lib.sh`, which `tests/cluster/configure` gives to no pod.
const NO_POD: Ipv4Addr = Ipv4Addr::new(10, 244, 3, 254);

/// A process that dials a pod that is gone would else keep the node's way out busy for as long as the node lives.
#[tokio::test]
async fn who_dials_a_pod_that_is_gone_is_told_that_nobody_is_there() -> anyhow::Result<()> {
    if !Cluster::connect().await?.is_local() {
        return Ok(());
    }
    let dialled = TcpStream::connect((NO_POD, 8080)).await;
    assert_eq!(dialled.map(drop).map_err(|error| error.kind()), Err(ErrorKind::HostUnreachable));
    Ok(())
}
