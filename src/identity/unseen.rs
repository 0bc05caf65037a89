//! Characters that nobody sees, or that make a line read otherwise than it is written.

/// Whether it is a control character, or one of format: of no width, or turning the direction of what follows (Unicode TR36 §2.5 and §2.9).
pub fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
