/* Drives an unmodified @ngrok/ngrok. Reads one JSON command a line from its
 * standard input, {"id": N, "do": WORD, ...}, and writes one JSON line for each
 * answer, {"id": N, "value": ...} or {"id": N, "error": TEXT, "code": TEXT},
 * and for each thing that happens by itself, {"event": WORD, ...}.
 */
"use strict";

const readline = require("node:readline");
const ngrok = require("@ngrok/ngrok");

let session = null;
const listeners = new Map();

function say(value)
{
	process.stdout.write(JSON.stringify(value) + "\n");
}

function bytes(text)
{
	return new Uint8Array(Buffer.from(text));
}

async function connect(command)
{
	const builder = new ngrok.SessionBuilder();

	if (command.token !== undefined)
		builder.authtoken(command.token);
	builder.serverAddr(command.server);
	if (command.ca !== undefined)
		builder.caCert(bytes(command.ca));
	if (command.metadata !== undefined)
		builder.metadata(command.metadata);
	if (command.heartbeat_interval !== undefined)
		builder.heartbeatInterval(command.heartbeat_interval);
	if (command.heartbeat_tolerance !== undefined)
		builder.heartbeatTolerance(command.heartbeat_tolerance);
	builder.handleDisconnection((addr, error) => {
		say({ event: "disconnected", addr, error });
		return command.reconnect !== false;
	});
	builder.handleHeartbeat((latency) => {
		say({ event: "heartbeat", latency });
	});
	builder.handleStopCommand(() => say({ event: "stop" }));
	builder.handleRestartCommand(() => say({ event: "restart" }));
	session = await builder.connect();
	return null;
}

async function listen(command)
{
	const builder = command.labels ? session.labeledListener() :
	    session[(command.proto ?? "tls") + "Endpoint"]();

	if (command.domain !== undefined)
		builder.domain(command.domain);
	if (command.metadata !== undefined)
		builder.metadata(command.metadata);
	if (command.termination !== undefined)
		builder.termination(bytes(command.termination.crt),
		    bytes(command.termination.key));
	for (const cidr of command.allow ?? [])
		builder.allowCidr(cidr);
	for (const cidr of command.deny ?? [])
		builder.denyCidr(cidr);
	if (command.mutual !== undefined)
		builder.mutualTlsca(bytes(command.mutual));
	if (command.proxy_proto !== undefined)
		builder.proxyProto(command.proxy_proto);
	if (command.pooling !== undefined)
		builder.poolingEnabled(command.pooling);
	if (command.traffic_policy !== undefined)
		builder.trafficPolicy(command.traffic_policy);
	if (command.verify_upstream !== undefined)
		builder.verifyUpstreamTls(command.verify_upstream);
	for (const [label, value] of Object.entries(command.labels ?? {}))
		builder.label(label, value);

	const listener = await builder.listenAndForward(command.forward);

	listeners.set(listener.id(), listener);
	return {
		id: listener.id(),
		url: listener.url(),
		proto: listener.proto(),
		metadata: listener.metadata(),
		forwards_to: listener.forwardsTo(),
	};
}

async function unlisten(command)
{
	await listeners.get(command.listener).close();
	listeners.delete(command.listener);
	return null;
}

async function close()
{
	await session.close();
	return null;
}

const commands = { connect, listen, unlisten, close };

async function obey(line)
{
	const command = JSON.parse(line);

	try {
		say({ id: command.id,
			value: await commands[command.do](command) });
	} catch (error) {
		say({ id: command.id, error: String(error.message ?? error),
			code: error.errorCode ?? error.code ?? null });
	}
}

ngrok.loggingCallback((level, target, message) => {
	say({ event: "log", level, target, message });
}, process.env.SDK_LOG ?? "INFO");

const input = readline.createInterface({ input: process.stdin });

input.on("line", obey);
input.on("close", () => process.exit(0));
say({ event: "ready" });
