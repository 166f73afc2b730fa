// Nodemailer's pool, fed as its manual advises, more whenever it is idle, and with TCP_NODELAY.
const net = require("net");
const nodemailer = require("nodemailer");

const given = JSON.parse(process.argv[2]);
const first = ["Anna", "Bob", "Chidi", "Zoë", "Dana"];
const last = ["Schmidt", "O'Neil", "Okafor", "Müller", "Li"];
const escaped = (text) =>
  text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;").replace(/'/g, "&#x27;");

function valuesOf(number) {
  const token = String(number).padStart(8, "0") + "abcdefghijklmnop";
  return {
    FIRSTNAME: first[number % 5],
    LASTNAME: last[number % 5],
    SURVEYURL: `https://surveys.example.org/12345?token=${token}&lang=en`,
    OPTOUTURL: `https://surveys.example.org/out/${token}`,
    ADMINNAME: "The survey team",
    COMPANY: "Example & Sons",
  };
}

function messageOf(number) {
  const values = valuesOf(number);
  const fill = (text, change) => text.replace(/\{([A-Z]+)\}/g, (_all, name) => change(values[name]));
  const plain = (text) => text;
  return {
    from: { name: given.sender_name, address: given.sender },
    to: { name: `${values.FIRSTNAME} ${values.LASTNAME}`, address: `person${number}@example.net` },
    replyTo: given.reply_to,
    subject: fill(given.subject, plain),
    text: fill(given.text, plain),
    html: fill(given.html, escaped),
    headers: { "List-Unsubscribe": `<${values.OPTOUTURL}>`, "Auto-Submitted": "auto-generated" },
  };
}

const transport = nodemailer.createTransport({
  host: "127.0.0.1",
  port: given.port,
  ignoreTLS: true,
  pool: true,
  maxConnections: given.connections,
  maxMessages: Infinity,
  // Without this its pieces wait for the server's delayed acknowledgements: 40 ms a message, on loopback at least.
  getSocket: (options, take) => {
    const connection = net.connect(options.port, options.host, () => take(null, { connection }));
    connection.setNoDelay(true);
  },
});
let next = 0;
let done = 0;
const started = process.hrtime.bigint();

function sent(error) {
  if (error) throw error;
  done += 1;
  if (done < given.messages) return;
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  transport.close();
  console.log(JSON.stringify({ seconds, messages: done }));
}

function feed() {
  while (transport.isIdle() && next < given.messages) {
    transport.sendMail(messageOf(next), sent);
    next += 1;
  }
}

transport.on("idle", feed);
