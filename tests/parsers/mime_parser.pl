# Reads a JSON list of messages in base64, and prints what MIME::Parser makes of each.
use strict;
use warnings;
use Encode qw(decode encode);
use JSON::PP;
use MIME::Base64;
use MIME::Parser;
use Mail::Address;

sub words { my $text = shift // ''; $text =~ s/\r?\n(?=[ \t])//g; $text =~ s/\r?\n\z//; return decode('MIME-Header', decode('UTF-8', $text)); }

sub people {
    my $field = shift // '';
    $field =~ s/\r?\n(?=[ \t])//g;
    return [map { my $name = $_->phrase; $name =~ s/^"(.*)"$/$1/s; $name =~ s/\\(.)/$1/g; [words($name), decode('UTF-8', $_->address)] } Mail::Address->parse($field)];
}

sub parts {
    my ($entity, $found) = @_;
    if ($entity->mime_type eq 'message/rfc822' && $entity->parts) {
        push @$found, {type => 'message/rfc822', data => encode_base64($entity->parts(0)->as_string, '')};
    } elsif ($entity->parts) {
        parts($_, $found) for $entity->parts;
    } else {
        my $name = $entity->head->recommended_filename;
        $name = decode('UTF-8', $name) if defined $name && !utf8::is_utf8($name);
        my $data = $entity->bodyhandle ? $entity->bodyhandle->as_string : '';
        push @$found, {type => $entity->mime_type, name => $name, data => encode_base64($data, '')};
    }
    return $found;
}

my @answers;
local $/;
for my $octets (@{decode_json(<STDIN>)}) {
    my $parser = MIME::Parser->new;
    $parser->output_to_core(1);
    $parser->tmp_to_core(1);
    $parser->extract_nested_messages('NEST');
    my $entity = $parser->parse_data(decode_base64($octets));
    my $head = $entity->head;
    push @answers, {
        subject => words($head->get('Subject')),
        from => people($head->get('From')), to => people($head->get('To')), reply_to => people($head->get('Reply-To')),
        parts => parts($entity, []),
    };
}
print JSON::PP->new->ascii->encode(\@answers);
