import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.zip.GZIPInputStream;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import org.apache.sshd.common.keyprovider.FileKeyPairProvider;
import org.apache.sshd.server.SshServer;
import org.apache.sshd.server.auth.pubkey.AcceptAllPublickeyAuthenticator;
import org.apache.sshd.server.command.AbstractCommandSupport;
import org.eclipse.jgit.errors.PackProtocolException;
import org.eclipse.jgit.errors.RepositoryNotFoundException;
import org.eclipse.jgit.lib.Repository;
import org.eclipse.jgit.storage.file.FileRepositoryBuilder;
import org.eclipse.jgit.transport.PacketLineOut;
import org.eclipse.jgit.transport.RefAdvertiser.PacketLineOutRefAdvertiser;
import org.eclipse.jgit.transport.UploadPack;

/**
 * Serves the bare repositories below a directory with JGit's UploadPack: over smart HTTP with the statuses and content
 * types of JGit's own servlet, or over ssh with Apache MINA sshd (any public key is let in). Prints its address once it
 * listens.
 *
 * <p>Arguments: the directory, then for ssh the file of the host key.
 */
public final class Serve {
    private static final String SERVICE = "git-upload-pack";

    public static void main(String[] arguments) throws Exception {
        File root = new File(arguments[0]);
        int port = arguments.length == 1 ? http(root) : ssh(root, Path.of(arguments[1]));
        System.err.println("listening 127.0.0.1:" + port);
        // All other threads are daemons.
        Thread.currentThread().join();
    }

    private static UploadPack open(File root, String path, List<String> protocol) throws IOException {
        File directory = new File(root, path);
        Repository repository = new FileRepositoryBuilder().setGitDir(directory).setMustExist(true).build();
        UploadPack git = new UploadPack(repository);
        git.setExtraParameters(protocol);
        return git;
    }

    private static int http(File root) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        server.setExecutor(Executors.newCachedThreadPool(task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        }));
        server.createContext("/", exchange -> {
            // Errors are answered before the exchange is closed.
            try (exchange) {
                answerOrFail(root, exchange);
            }
        });
        server.start();
        return server.getAddress().getPort();
    }

    private static void answerOrFail(File root, HttpExchange exchange) throws IOException {
        try {
            answer(root, exchange);
        } catch (RepositoryNotFoundException e) {
            exchange.sendResponseHeaders(404, -1);
        } catch (PackProtocolException e) {
            error(exchange, 200, e.getMessage());
        } catch (Exception e) {
            e.printStackTrace();
            error(exchange, 500, "Internal server error");
        }
    }

    private static void answer(File root, HttpExchange exchange) throws Exception {
        String path = exchange.getRequestURI().getPath();
        String header = exchange.getRequestHeaders().getFirst("Git-Protocol");
        List<String> protocol = header == null ? List.of() : List.of(header.split(":"));
        if (path.endsWith("/info/refs") && ("service=" + SERVICE).equals(exchange.getRequestURI().getQuery())) {
            UploadPack git = open(root, path.substring(0, path.length() - "/info/refs".length()), protocol);
            git.setBiDirectionalPipe(false);
            exchange.getResponseHeaders().set("Content-Type", "application/x-" + SERVICE + "-advertisement");
            exchange.sendResponseHeaders(200, 0);
            PacketLineOut out = new PacketLineOut(exchange.getResponseBody());
            // JGit's servlet leaves these two out with protocol v2, as git itself does for ssh.
            if (!protocol.contains("version=2")) {
                out.writeString("# service=" + SERVICE + "\n");
                out.end();
            }
            git.sendAdvertisedRefs(new PacketLineOutRefAdvertiser(out));
            exchange.getResponseBody().close();
        } else if (path.endsWith("/" + SERVICE)) {
            UploadPack git = open(root, path.substring(0, path.length() - SERVICE.length() - 1), protocol);
            git.setBiDirectionalPipe(false);
            boolean gzip = "gzip".equals(exchange.getRequestHeaders().getFirst("Content-Encoding"));
            // As a whole, since JGit skips to its end: the stream's own skip reads beyond the request.
            InputStream in = new ByteArrayInputStream(exchange.getRequestBody().readAllBytes());
            try (OutputStream out = new Late(exchange)) {
                git.uploadWithExceptionPropagation(
                    gzip ? new GZIPInputStream(in) : in, out, OutputStream.nullOutputStream());
            }
        } else {
            exchange.sendResponseHeaders(404, -1);
        }
    }

    /** Answers with git's own form of an error, unless an answer has begun. */
    private static void error(HttpExchange exchange, int status, String message) throws IOException {
        if (exchange.getResponseCode() == -1) {
            exchange.getResponseHeaders().set("Content-Type", "application/x-" + SERVICE + "-result");
            exchange.sendResponseHeaders(status, 0);
            new PacketLineOut(exchange.getResponseBody()).writeString("ERR " + message);
            exchange.getResponseBody().close();
        }
    }

    /** Sends the head of an answer with its first byte, so that an error before it can have its own status. */
    private static final class Late extends OutputStream {
        private final HttpExchange exchange;

        Late(HttpExchange exchange) {
            this.exchange = exchange;
        }

        @Override
        public void write(int b) throws IOException {
            write(new byte[] {(byte) b}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int offset, int length) throws IOException {
            if (exchange.getResponseCode() == -1) {
                exchange.getResponseHeaders().set("Content-Type", "application/x-" + SERVICE + "-result");
                exchange.sendResponseHeaders(200, 0);
            }
            exchange.getResponseBody().write(bytes, offset, length);
        }

        @Override
        public void close() throws IOException {
            if (exchange.getResponseCode() != -1) {
                exchange.getResponseBody().close();
            }
        }
    }

    private static int ssh(File root, Path hostKey) throws IOException {
        SshServer server = SshServer.setUpDefaultServer();
        server.setHost("127.0.0.1");
        server.setKeyPairProvider(new FileKeyPairProvider(hostKey));
        server.setPublickeyAuthenticator(AcceptAllPublickeyAuthenticator.INSTANCE);
        server.setCommandFactory((session, command) -> new UploadPackCommand(root, command));
        server.start();
        return server.getPort();
    }

    /** Runs {@code git-upload-pack 'PATH'}. */
    private static final class UploadPackCommand extends AbstractCommandSupport {
        private final File root;

        UploadPackCommand(File root, String command) {
            super(command, null);
            this.root = root;
        }

        @Override
        public void run() {
            int status = 0;
            try {
                String[] words = getCommand().split("'");
                if (words.length != 2 || !words[0].equals(SERVICE + " ")) {
                    throw new IOException("only " + SERVICE + " 'PATH' is served");
                }
                String protocol = getEnvironment().getEnv().get("GIT_PROTOCOL");
                open(root, words[1], protocol == null ? List.of() : List.of(protocol.split(":")))
                    .upload(getInputStream(), getOutputStream(), getErrorStream());
            } catch (Exception e) {
                status = 1;
                try {
                    getErrorStream().write(("fatal: " + e.getMessage() + "\n").getBytes());
                    getErrorStream().flush();
                } catch (IOException ignored) {
                    // The client is gone.
                }
            }
            onExit(status);
        }
    }
}
