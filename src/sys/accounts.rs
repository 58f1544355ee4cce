//! Users and groups by their names, from /etc/passwd and /etc/group themselves: the C library's way needs its shared
//! libraries at run time, which a static binary does not have.
//!
//! What this file does not do: ask LDAP or anybody else. Who has names there gives numbers.

use std::fs;

/// The number of the user whose name, or number, this is.
pub(crate) fn user(text: &str) -> Result<u32, String> {
    number_in("user", text, "/etc/passwd")
}

/// The same of a group.
pub(crate) fn group(text: &str) -> Result<u32, String> {
    number_in("group", text, "/etc/group")
}

fn number_in(kind: &str, text: &str, path: &str) -> Result<u32, String> {
    // A name comes first, as with chown: it may consist of digits.
    let accounts = fs::read(path).unwrap_or_default();
    // The last number means "leave it as it is".
    let number = || text.parse().ok().filter(|number| *number != u32::MAX && !text.starts_with('+'));
    find(&accounts, text)
        .or_else(number)
        .ok_or_else(|| format!("no {kind} {text} in {path}; give a name or a number"))
}

/// `name:password:number:…`, a line for each.
fn find(accounts: &[u8], name: &str) -> Option<u32> {
    accounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let is_it = fields.next() == Some(name.as_bytes());
        let number = fields.nth(1).filter(|_| is_it)?;
        std::str::from_utf8(number).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNTS: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\n# a remark\nwww-data:x:33:33::/:\nbr\xffken:x:7\n\
        +nis::::::\nodd:x:\nshort\n33:x:44:44::/:\nlast:x:1000";

    #[test]
    fn a_name_is_found_whole_and_nothing_else_is() {
        assert_eq!(find(ACCOUNTS, "root"), Some(0));
        assert_eq!(find(ACCOUNTS, "www-data"), Some(33));
        assert_eq!(find(ACCOUNTS, "33"), Some(44));
        assert_eq!(find(ACCOUNTS, "last"), Some(1000));
        for nobody in ["www", "x", "odd", "short", "", "+nis", "# a remark", "www-data2"] {
            assert_eq!(find(ACCOUNTS, nobody), None, "{nobody}");
        }
    }

    #[test]
    fn a_number_that_nobody_has_is_one() {
        assert_eq!((user("root"), user("0"), group("4000000")), (Ok(0), Ok(0), Ok(4_000_000)));
        for wrong in ["no-such-user", "-1", "+1", "4294967295", "4294967296", ""] {
            assert!(user(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            user("no-such-user").unwrap_err(),
            "no user no-such-user in /etc/passwd; give a name or a number"
        );
    }
}
