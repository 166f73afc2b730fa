// Reads a JSON list of messages in base64, and prints what postal-mime makes of each. The first argument is its folder.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const { default: PostalMime } = await import(pathToFileURL(process.argv[2]));
const people = (list) => (list || []).flatMap((item) => item.group || [item]).map((item) => [item.name || '', item.address]);
const answers = [];
for (const item of JSON.parse(readFileSync(0, 'utf8'))) {
  const mail = await PostalMime.parse(Buffer.from(item, 'base64'), { forceRfc822Attachments: true });
  const parts = [];
  if (mail.text !== undefined) parts.push({ type: 'text/plain', text: mail.text });
  if (mail.html !== undefined) parts.push({ type: 'text/html', text: mail.html });
  for (const file of mail.attachments) {
    parts.push({ type: file.mimeType, name: file.filename, data: Buffer.from(file.content).toString('base64') });
  }
  answers.push({
    subject: mail.subject || '', from: people(mail.from ? [mail.from] : []), to: people(mail.to), reply_to: people(mail.replyTo), parts,
  });
}
process.stdout.write(JSON.stringify(answers));
