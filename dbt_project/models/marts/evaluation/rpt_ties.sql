with

final as (

    select
        model,
        reason,
        cast(cut_off_rows_count as bigint) as cut_off_rows_count,
        cast(weeks_with_ties_count as bigint) as weeks_with_ties_count,
        cast(weeks_count as bigint) as weeks_count,
        cast(distinct_scores_count as bigint) as distinct_scores_count,
        cast(rows_count as bigint) as rows_count
    from {{ source('evaluation', 'ties') }}

)

select * from final
