//! nginx as a peer: HTTP, and HTTPS with HTTP/2 under a certificate made for the test. One process, so that it can run
//! on our stack too.

use super::command::{Program, Running};
use super::network::{Directory, free_port};
use super::stack::Stack;
use super::stream::Stream;
use std::path::PathBuf;

/// The length of `/file`.
pub(crate) const FILE_LENGTH: u64 = 300_000;

/// A running nginx.
pub(crate) struct Nginx {
    directory: Directory,
    pub(crate) plain_port: u16,
    pub(crate) secure_port: u16,
    _running: Running,
}

impl Nginx {
    /// On the kernel's loopback.
    pub(crate) fn start() -> Nginx {
        let nginx = Nginx::on(&Stack::kernel(), "127.0.0.1", free_port(), free_port());
        super::network::wait_until_connectable(nginx.plain_port);
        nginx
    }

    /// On `stack`, listening on `address`. It may not be ready yet.
    pub(crate) fn on(stack: &Stack, address: &str, plain_port: u16, secure_port: u16) -> Nginx {
        let directory = Directory::new();
        make_certificate(&directory);
        let root = directory.open_to_all("root");
        std::fs::write(root.join("file"), Stream::of(FILE_LENGTH).bytes()).expect("the directory is ours");
        let path = directory.path().display();
        let configuration = format!(
            "daemon off; master_process off; pid {path}/pid;
            events {{ worker_connections 1024; }}
            http {{
                access_log off; sendfile on; default_type application/octet-stream;
                client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
                fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
                server {{
                    listen {address}:{plain_port};
                    listen {address}:{secure_port} ssl http2;
                    ssl_certificate {path}/certificate.pem; ssl_certificate_key {path}/key.pem;
                    root {path}/root;
                }}
            }}"
        );
        let file = directory.file("nginx.conf");
        std::fs::write(&file, configuration).expect("the directory is ours");
        // Debian has it in a directory that is not on an ordinary user's path.
        let running =
            Program::new("/usr/sbin/nginx").args(["-e", "stderr", "-c"]).arg(&file).on(stack).spawn();
        Nginx { directory, plain_port, secure_port, _running: running }
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.file("certificate.pem")
    }
}

/// Self-signed, for the loopback by both its names.
fn make_certificate(directory: &Directory) {
    Program::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=tubesock test", "-keyout", "key.pem", "-out", "certificate.pem"])
        .args(["-addext", "subjectAltName=IP:10.0.2.2,IP:127.0.0.1"])
        .directory(directory.path())
        .run()
        .success();
}
