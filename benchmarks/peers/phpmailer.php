<?php
// PHPMailer on one connection that it keeps, with TCP_NODELAY.
require $argv[2];

use PHPMailer\PHPMailer\PHPMailer;

$given = json_decode($argv[1], true);
$first = ["Anna", "Bob", "Chidi", "Zoë", "Dana"];
$last = ["Schmidt", "O'Neil", "Okafor", "Müller", "Li"];

$mail = new PHPMailer(true);
$mail->isSMTP();
$mail->Host = "127.0.0.1";
$mail->Port = $given["port"];
$mail->SMTPAutoTLS = false;
$mail->SMTPKeepAlive = true;
// Without this its pieces wait for the server's delayed acknowledgements: 40 ms a message, on loopback at least.
$mail->SMTPOptions = ["socket" => ["tcp_nodelay" => true]];
$mail->CharSet = "utf-8";
$mail->Encoding = "quoted-printable";
$mail->setFrom($given["sender"], $given["sender_name"]);
$mail->addReplyTo($given["reply_to"]);

$begun = microtime(true);
for ($number = 0; $number < $given["messages"]; $number++) {
    $token = sprintf("%08dabcdefghijklmnop", $number);
    $values = [
        "{FIRSTNAME}" => $first[$number % 5],
        "{LASTNAME}" => $last[$number % 5],
        "{SURVEYURL}" => "https://surveys.example.org/12345?token=$token&lang=en",
        "{OPTOUTURL}" => "https://surveys.example.org/out/$token",
        "{ADMINNAME}" => "The survey team",
        "{COMPANY}" => "Example & Sons",
    ];
    $escaped = array_map(fn($value) => htmlspecialchars($value, ENT_QUOTES), $values);
    $mail->clearAddresses();
    $mail->clearCustomHeaders();
    $mail->addAddress("person$number@example.net", $values["{FIRSTNAME}"] . " " . $values["{LASTNAME}"]);
    $mail->addCustomHeader("List-Unsubscribe", "<" . $values["{OPTOUTURL}"] . ">");
    $mail->addCustomHeader("Auto-Submitted", "auto-generated");
    $mail->Subject = strtr($given["subject"], $values);
    $mail->isHTML(true);
    $mail->Body = strtr($given["html"], $escaped);
    $mail->AltBody = strtr($given["text"], $values);
    $mail->send();
}
$ended = microtime(true);
$mail->smtpClose();
echo json_encode(["begun" => $begun, "ended" => $ended, "messages" => $given["messages"]]), "\n";
